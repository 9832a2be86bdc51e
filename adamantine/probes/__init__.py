"""Measurements: functions from a Point to a number or a dict of numbers, one idea a file.

A probe is a frozen dataclass. Calling it gives `{name: number}`; a number for one tensor is named `name/tensor`, and
one standard error (or, where the docstring says so, a bound) is `name_error`, `name_error/tensor`. It tells of itself

    units     {name: what it is and in which units}, for every name it gives, errors and tensors apart
    cost      {oracle: calls}: the most it asks of the point, as `Point.cost` counts them ("grad", "hvp", ...)
    caveat    a sentence: when the number misleads
    bound     what the number is to the quantity: "exact" (the default), "lower", "upper" or "unbiased"

and `on_quadratic(p, h)` gives the known answer at a point `p` of a quadratic with the Hessian `h`, to which the tests
hold it. What a probe wants to start from next time lies in `p.notes`, under a key with `repr(self)` in it.
"""
