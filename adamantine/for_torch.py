"""Any composition as a `torch.optim.Optimizer`: schedulers, scalers, checkpoints and trainers take it as it is."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adamantine import inplace, request, saved
from adamantine.closure import ClosureTask, Evaluation, scalar
from adamantine.cohorts import Cohorts
from adamantine.part import Part
from adamantine.point import Point
from adamantine.rated import DEAF, Unknown, check, of_training, rated, refuse_deaf, representable
from adamantine.sharded import elementwise, is_sharded, like, put, seen
from adamantine.tree import Params

HOOKS = ("step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post")


def torch_optimizer(
    params: Any,
    recipe: request.Recipe,
    *,
    groups: Sequence[dict[str, Any]] = (),
    steps: int | None = None,
    seed: int = 0,
    roles: request.Roles = None,
    **hyperparameters: Any,
) -> "TorchOptimizer":
    """The composition `recipe` as an optimizer of the parameters of a module, or of `model.named_parameters()`.

    `recipe` is a `Part`, a recipe (`adamw`) with its `hyperparameters`, or a recipe's name. Each of `groups` is a dict
    of "params" (names, patterns such as `"*.bias"`, or parameters), of hyperparameters of its own, and, where it has
    another, of its "recipe". What looks at all tensors at once (a global norm) looks at all of its group. `steps` is
    the number of steps of training, for schedules inside the composition; `seed` the run's, for parts that draw;
    `roles` says what the module's structure does not (`{"head.weight": "head"}`), or is its whole table.

    The rate is `group["lr"]`, which schedulers change: all rates inside the composition change with it. Raises
    ValueError or TypeError, in a sentence, for parameters and hyperparameters that make no sense together.
    """
    return TorchOptimizer(params, recipe, groups, steps, seed, roles, hyperparameters)


class TorchOptimizer(Optimizer):
    """What `torch_optimizer` returns. Parameters without a gradient sit out a step, and keep their own count."""

    def __init__(
        self,
        params: Any,
        recipe: request.Recipe,
        groups: Sequence[dict[str, Any]] = (),
        steps: int | None = None,
        seed: int = 0,
        roles: request.Roles = None,
        hyperparameters: dict[str, Any] | None = None,
    ) -> None:
        """Build every group's composition, and refuse what cannot work."""
        of_training(steps, seed)
        found = request.named(params)
        self._recipe, self._hyperparameters = recipe, dict(hyperparameters or {})
        self._model, self._roles = (request.plain(params) if isinstance(params, nn.Module) else None), roles
        self._steps: Any = Unknown() if steps is None else steps
        self._seed, self._count, self._evaluating = seed, 0, False
        self._kept: list[Cohorts] = []
        self._bound: list[Part] = []
        self._wholes: list[bool] = []  # whether the composition needs whole tensors, where parameters are sharded
        self._rated: dict[int, tuple[float, Part]] = {}
        built = [self._group(names, over, found) for names, over in request.grouped(groups, found)]
        super().__init__(built, {"lr": built[0]["lr"], "differentiable": False})
        representable(found.values(), max(float(g["lr"]) for g in built) or 1.0)
        self._model = None  # asked for its roles, and not kept: the optimizer is copied and pickled without it

    def _group(self, names: list[str], overrides: dict[str, Any], found: dict[str, Tensor]) -> dict[str, Any]:
        """A group as torch has it, with its composition."""
        own = {k: x for k, x in overrides.items() if k not in ("recipe", "params")}
        recipe = overrides.get("recipe", self._recipe)
        basis = (
            self._hyperparameters
            if "recipe" not in overrides
            else {k: x for k, x in self._hyperparameters.items() if k == "lr"}
        )
        given = {**basis, **own}
        part, base = request.composed(recipe, given)
        request.rate(lr := given.get("lr", base))
        self._bound.append(request.bound(part, found, self._model, self._roles))
        self._wholes.append(not elementwise(self._bound[-1]))
        self._kept.append(Cohorts())
        whole = self._wholes[-1]
        check(self._bound[-1], {k: like(found[k], whole) for k in names if found[k].numel()}, self._steps)
        return {"params": [(k, found[k]) for k in names], "lr": lr, "base_lr": base, "recipe": part}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group more: "params", named as at construction, and hyperparameters of its own."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError('torch_optimizer: a group must be a dict with "params", as in {"params": layer}.')
        if "base_lr" not in param_group:
            found = request.named(param_group["params"])
            request.refuse_known(found, self.param_groups)
            param_group = self._group([*found], param_group, found)
        super().add_param_group(param_group)

    def _part(self, i: int) -> Part:
        """The composition of group `i` at the rate that it has now."""
        group = self.param_groups[i]
        if DEAF & group.keys():
            refuse_deaf(group)
        lr = group["lr"] if type(group["lr"]) is float else request.rate(group["lr"])
        if i not in self._rated or self._rated[i][0] != lr:
            self._rated[i] = lr, rated(self._bound[i], group["base_lr"], lr)
        return self._rated[i][1]

    def _params(self, i: int) -> dict[str, Any]:
        group = self.param_groups[i]
        return dict(zip(group["param_names"], group["params"], strict=True))

    def _live(self, i: int) -> tuple[dict[str, Any], Params, Params]:
        """The parameters of group `i` that have gradients, and both as the parts see them."""
        params, w, g = {}, {}, {}
        whole, apart = self._wholes[i], bool(self._bound[i].gradients)
        for k, x in self._params(i).items():
            grad = x.grad
            if grad is None:
                continue
            if grad.layout != torch.strided:
                request.refuse_sparse(k)
            params[k] = x
            if not x.numel():
                continue
            # A step is taken without gradients, unless its parts take some; a view for each tensor has its price.
            w[k] = seen(x.detach() if apart or type(x) is not nn.Parameter else x, whole)
            grad = seen(grad.detach() if grad.requires_grad else grad, whole)
            g[k] = grad if grad.dtype == x.dtype else grad.to(x.dtype)
        return params, w, g

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step with the gradients that lie in the parameters; what the closure returned, if there is one."""
        if self._evaluating:
            raise RuntimeError("torch_optimizer: step() was called inside evaluating(); leave it before training on.")
        loss = None
        if closure is not None:
            if not callable(closure):
                raise TypeError(f"torch_optimizer: step() takes a closure, not {closure!r}; call step().")
            with torch.enable_grad():
                loss = closure()
        live = [self._live(i) for i in range(len(self.param_groups))]
        if not any(w for _, w, _ in live):
            return loss
        later: list[tuple[Tensor, Tensor]] = []
        for i, (_, w, g) in enumerate(live):
            part = self._part(i)
            for mine, s, leave in self._kept[i].turns(part, w):
                p = self._point(i, mine, {k: g[k] for k in mine}, closure, loss)
                if part.gradients:
                    with torch.enable_grad():
                        u, after = part.update(p.grad, s, p)
                    later += [(mine[k], x) for k, x in u.items()]
                else:
                    after = inplace.step(part, mine, s, p)
                leave(after)
        # Only now, so that no gradient elsewhere is taken where a part of the weights has moved.
        for x, u in later:
            x.sub_(u)
        for i, (params, w, _) in enumerate(live):
            if self._wholes[i]:
                for k in w:
                    if is_sharded(params[k]):
                        put(params[k], w[k], True)
        self._count += 1
        return loss

    def _point(self, i: int, w: Params, g: Params, closure: Callable[[], Any] | None, loss: Any) -> Point:
        """Where the parts stand: the weights `w` with the gradients `g`."""
        every = {k: x for j in range(len(self.param_groups)) for k, x in self._params(j).items()}
        task = ClosureTask(every, closure, self._wholes[i])
        p = Point(task, w, None, self._count, self._steps, self._seed)  # pyright: ignore[reportArgumentType]
        if closure is None or loss is None:
            return p.given(g)
        value = scalar(loss)
        graph = self._bound[i].gradients
        task.first = Evaluation(task, w, value, {k: task.grad(k) if graph else g[k] for k in w})
        p.memo["value_grad"] = value, g
        return p

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, the model has the weights to evaluate (an average, where one is kept); afterwards its own again."""
        held = []
        with torch.no_grad():
            for i in range(len(self.param_groups)):
                params, whole = self._params(i), self._wholes[i]
                for names, s in self._kept[i].kept:
                    w = {k: seen(params[k].detach(), whole) for k in names}
                    for k, x in self._part(i).read(w, s).items():
                        if x is not w[k]:
                            held.append((params[k], w[k].clone(), whole))
                            put(params[k], x, whole)
        was, self._evaluating = self._evaluating, True
        try:
            yield
        finally:
            self._evaluating = was
            for x, w, whole in held:
                put(x, w, whole)

    def state_dict(self) -> dict[str, Any]:
        """`schema`, `recipe`, `step`, `state` by name and path, `param_groups`; plain data, for any way of saving."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        recipes = " | ".join(dict.fromkeys(repr(g["recipe"]) for g in self.param_groups))
        out = saved.written(recipes, self._count, self.param_groups, self._kept)
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, out)
            out = out if changed is None else changed
        return out

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, parameter by parameter of the same name, in whatever groups and order they are now.

        ValueError, with nothing changed, for a checkpoint of other parameters or of another composition.
        """
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved.refuse_foreign(state_dict, self.param_groups)
        kept = []
        for i, group in enumerate(self.param_groups):
            w = {k: like(x, self._wholes[i]) for k, x in self._params(i).items()}
            kept.append(saved.read(state_dict, group, self._bound[i], w))
        saved.restore_options(state_dict, self.param_groups)
        self._kept, self._count = kept, state_dict["step"]
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        """All but what others have hung on it: hooks, and a step that a scheduler has wrapped."""
        left = {"step", "_rated", *(f"_optimizer_{h}_hooks" for h in HOOKS)}
        return {k: x for k, x in self.__dict__.items() if k not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As torch does."""
        self._rated = {}
        for h in HOOKS:
            self.__dict__.setdefault(f"_optimizer_{h}_hooks", OrderedDict())
        super().__setstate__(state)
