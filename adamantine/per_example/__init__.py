"""Gradients of single examples, their norms and their inner products, from one forward and one backward pass.

The operations that parameters go into are recorded while the losses are computed (`record`); one backward pass gives
the gradient of the summed losses with respect to what these operations gave, and as the losses of different examples
share nothing but the parameters, the slice of an example in it is the gradient of its own loss. Which slice that is,
a trial finds out (`layout`, `trial`). What an operation makes of it is a rule (`rules`), its result a term (`terms`),
from which norms and inner products follow without the gradients themselves where that is cheaper (`products`).
Parameters that go into other operations are served example by example (`fallback`). `ask` is the way in.
"""
