"""Assumptions of theorems, one a file: a probe that measures the constant, with statement, symmetry and source.

`statement` is the inequality, `symmetry` the largest group of `part.GROUPS` that leaves the constant as it is,
`source` the literature, and `bound` what the measured number is to the constant: "exact", "lower", "upper" or
"unbiased". `on_quadratic(p, h)` gives the constant of a quadratic with the Hessian `h`; the tests hold every
assumption to it, and to its symmetry.
"""
