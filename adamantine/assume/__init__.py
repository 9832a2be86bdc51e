"""Assumptions of theorems and candidates for one, one a file: a probe with statement, symmetry and source.

`statement` is the inequality, `symmetry` the largest group of `symmetry.GROUPS` that leaves the constant as it is,
`source` the literature, and `bound` what the measured number is to the constant at this point and batch: "exact",
"lower", "upper" or "unbiased". `null` says what the constant is compared with (`under_null(p)`, where there is one,
gives that in numbers, under the same names), `refuted` what would refute the assumption, `means` what it says about
which optimizer, and `cost` the most oracle calls. `larger` is what theory says of the speed of an optimizer for which
the first of the numbers is larger, "slower" or "faster". `on_quadratic(p, h)` gives the constant where the Hessian is
`h`, or `on_examples(p, g)` where the gradients of the examples are the rows of `g`, `[B, d]`: the tests hold every
assumption to it, and to its symmetry. `scales(p)`, where an assumption has several constants, are the quantities
that all but the additive one multiply; its first number is what it bounds over the first of them. Where `local` is
False the number depends on the loss elsewhere too, and the closed form is that of a quadratic.
"""
