"""Every recipe written out as its paper has it: one function a recipe, of the same name, without this package's parts.

`recipe(problem, w, steps, lr, **same hyperparameters) -> w` steps plain float64 tensors in loops, `problem.grad(w, t)`
giving the gradient on the batch of step `t` (from 0), `problem.hvp(w, v, t)` a Hessian-vector product, and
`problem.role[name]` a tensor's role. A module may have `CASES = {recipe: [{...hyperparameters, "lr"?, "tol"?}, ...]}`;
the defaults are always tested, with the rate and tolerance of a case that holds nothing else.
"""
