"""Theorems on optimizers as objects, one a file: from measured constants to a bound on what was measured.

`statement` is the inequality and `source` where it is proven; the docstring has the line of the proof that matters.
`assumes` names the constants, `bounds` the quantity, `optimizer` the rule that it speaks of, and `tight` where it is
attained. A call with the constants gives the bound for the rate and the number of steps that were used, infinite where
the theorem says nothing of so large a rate; ValueError names a constant that is missing. `start` is `f(x_0) - f*` and
`distance` `|x_0 - x*|_2`; rates are those of the whole run, constant.
"""
