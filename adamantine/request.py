"""What a user asks of `torch_optimizer`: named parameters, groups of them, and a composition for each."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from adamantine.part import Part
from adamantine.rated import rates
from adamantine.role import Tag, Tags, asks, bind

Recipe = Part | Callable[..., Part] | str
Roles = dict[str, Any] | Tags | None


def plain(model: nn.Module) -> nn.Module:
    """The module inside wrappers that only change names (`DistributedDataParallel`, `torch.compile`)."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def named(given: Any) -> dict[str, Tensor]:
    """Parameters by name, from a module, a mapping or pairs. ValueError or TypeError in a sentence for others."""
    if isinstance(given, nn.Module):
        # What is no number with a fraction and has no gradient can never be trained (quantized weights).
        pairs = [(k, x) for k, x in plain(given).named_parameters() if x.requires_grad or x.is_floating_point()]
    elif isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Tensor):
        pairs = [given]
    elif isinstance(given, Iterable) and not isinstance(given, type):
        pairs = list(given)
    else:
        raise TypeError(
            f"torch_optimizer: parameters are {given!r}, but must be a module or named parameters; give the model."
        )
    if not pairs:
        raise ValueError(
            "torch_optimizer: the list of parameters is empty, so there is nothing to train; give a module with "
            "parameters, and an iterator only once."
        )
    out: dict[str, Tensor] = {}
    for pair in pairs:
        if isinstance(pair, Mapping):
            raise TypeError(
                "torch_optimizer: a group came where a parameter was expected; give the module, and what differs as "
                'groups=[{"params": "*bias", "decay": 0.0}].'
            )
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(
                f"torch_optimizer: parameters are known by name, but a {type(pair).__name__} came without one; give "
                "the module, or model.named_parameters()."
            )
        name, x = pair
        _trainable(name, x)
        if name in out:
            raise ValueError(f"torch_optimizer: the name {name!r} comes twice; give every parameter once.")
        twin = next((k for k, y in out.items() if y is x), None)
        if twin is not None:
            raise ValueError(f"torch_optimizer: {name!r} and {twin!r} are the same parameter; give it once.")
        out[name] = x
    return out


def _trainable(name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"torch_optimizer: {name!r} is a {type(x).__name__}, but must be a tensor; give parameters.")
    if x.is_complex() or not x.is_floating_point():
        kind = "complex" if x.is_complex() else "integer"
        mend = "train torch.view_as_real of it" if x.is_complex() else "leave it out, or convert it to float"
        raise ValueError(f"torch_optimizer: {name!r} is {kind} ({x.dtype}), but parameters must be real; {mend}.")
    if x.is_meta:
        raise ValueError(
            f"torch_optimizer: {name!r} is on the meta device, where weights have no content; build the optimizer "
            "after model.to_empty(device=...) or loading, which put other parameters in their place."
        )
    if not x.is_leaf:
        raise ValueError(
            f"torch_optimizer: {name!r} was computed from other tensors, so it cannot be trained; give "
            "the parameters that it comes from."
        )


def composed(recipe: Recipe, hyperparameters: dict[str, Any]) -> tuple[Part, float]:
    """The composition, and its rate. Errors in a sentence, with the nearest names."""
    given = {k: rate(x) if k == "lr" else x for k, x in hyperparameters.items()}
    if isinstance(recipe, Part):
        extra = [k for k in given if k != "lr"]
        if extra:
            raise TypeError(
                f"torch_optimizer: {extra[0]!r} cannot be given to a composition that is built already; build it with "
                "that, or give the recipe's function or name. Only lr can be set."
            )
        found = rates(recipe)
        if not found:
            raise ValueError(
                f"torch_optimizer: {type(recipe).__name__} holds no Lr, so no schedule could change its rate; append "
                "one, as in part >> Lr(1.0)."
            )
        return recipe, found[0]
    if isinstance(recipe, str):
        recipe = _by_name(recipe)
    if not callable(recipe) or (isinstance(recipe, type) and issubclass(recipe, Optimizer)):
        what = f"torch's {recipe.__name__}" if isinstance(recipe, type) else f"a {type(recipe).__name__}"
        raise TypeError(
            f'torch_optimizer: recipe is {what}, but must be a Part, a recipe such as adamw, or its name, "adamw".'
        )
    name, known = getattr(recipe, "__name__", "recipe"), inspect.signature(recipe).parameters
    for k in given:
        if k not in known:
            near = difflib.get_close_matches(k, known, 3, 0.55)
            mend = f"nearest: {', '.join(near)}" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"torch_optimizer: {name} takes no {k!r}; {mend}.")
    missing = [k for k, x in known.items() if x.default is x.empty and k not in given]
    if missing:
        raise TypeError(f"torch_optimizer: {name} needs {missing[0]!r}; give it, as in {missing[0]}=1e-3.")
    # At a rate of zero all rates inside would be zero, and how they relate would be lost.
    part = recipe(**{**given, "lr": 1.0} if given.get("lr") == 0 else given)
    if not isinstance(part, Part):
        raise TypeError(f"torch_optimizer: {name} returned a {type(part).__name__}, but must return a Part.")
    if not rates(part):
        raise ValueError(f"torch_optimizer: {name} holds no Lr, so its rate cannot be changed; append one, >> Lr(1.0).")
    base = given.get("lr", known["lr"].default if "lr" in known else rates(part)[0])
    return part, float(base or 1.0)


def rate(x: Any) -> float:
    """A learning rate as a number; TypeError or ValueError for what is none."""
    x = x.item() if isinstance(x, Tensor) and x.numel() == 1 else x
    if isinstance(x, bool) or not isinstance(x, Real):
        raise TypeError(f"torch_optimizer: lr = {x!r} must be a number; give one, as in lr=1e-3.")
    if not 0 <= float(x) < float("inf"):
        raise ValueError(f"torch_optimizer: lr = {x!r} must be finite and not negative; give 0 to stand still.")
    return float(x)


def refuse_known(fresh: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """ValueError where a parameter is in one of the groups already."""
    known = {x for g in groups for x in (*g["param_names"], *map(id, g["params"]))}
    for k, x in fresh.items():
        if k in known or id(x) in known:
            raise ValueError(f"torch_optimizer: {k!r} is in a group already; let each parameter be in one.")


def refuse_sparse(name: str) -> None:
    """ValueError for a sparse gradient."""
    raise ValueError(
        f"torch_optimizer: the gradient of {name!r} is sparse, but must be dense; build its embedding with "
        "sparse=False."
    )


def _by_name(name: str) -> Callable[..., Part]:
    from adamantine.listing import recipes

    found = recipes()
    if name not in found:
        near = difflib.get_close_matches(name.lower(), found, 3, 0.4)
        mend = f"nearest: {', '.join(near)}" if near else "see `adamantine list recipes`"
        raise ValueError(f"torch_optimizer: there is no recipe {name!r}; {mend}.")
    return found[name]


def chosen(wanted: Any, params: dict[str, Tensor]) -> list[str]:
    """The names in `params` that a group's "params" means: patterns, names, parameters, pairs, or a module's."""
    if isinstance(wanted, nn.Module):
        wanted = list(wanted.parameters())
    items = [wanted] if isinstance(wanted, (str, Tensor)) or not isinstance(wanted, Iterable) else list(wanted)
    if not items:
        raise ValueError("torch_optimizer: a group has no parameters; name some, or leave the group out.")
    by_id = {id(x): k for k, x in params.items()}
    out: dict[str, None] = {}
    for item in items:
        item = item[1] if isinstance(item, tuple) else item
        if isinstance(item, str):
            hits = [item] if item in params else [k for k in params if fnmatchcase(k, item)]
        else:
            hits = [by_id[id(item)]] if id(item) in by_id else []
        if not hits:
            what = repr(item) if isinstance(item, str) else f"a {type(item).__name__}"
            near = difflib.get_close_matches(item, params, 3, 0.3) if isinstance(item, str) else []
            raise ValueError(
                f"torch_optimizer: a group names {what}, which is no parameter here; the nearest: "
                f"{', '.join(near or [*params][:3])}."
            )
        out.update(dict.fromkeys(hits))
    return list(out)


def grouped(groups: Sequence[dict[str, Any]], params: dict[str, Tensor]) -> list[tuple[list[str], dict[str, Any]]]:
    """Names and overrides of every group: first the parameters that no group names, then the groups in order."""
    out: list[tuple[list[str], dict[str, Any]]] = []
    taken: dict[str, int] = {}
    if isinstance(groups, Mapping) or not isinstance(groups, Iterable):
        raise TypeError(
            f"torch_optimizer: groups is a {type(groups).__name__}, but must be a list of dicts; give one, "
            'as in [{"params": "*bias"}].'
        )
    for i, group in enumerate(groups):
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f'torch_optimizer: groups[{i}] must be a dict with "params", as in {{"params": "*bias"}}.')
        names = chosen(group["params"], params)
        for k in names:
            if k in taken:
                raise ValueError(
                    f"torch_optimizer: {k!r} is in groups {taken[k]} and {i}; let each parameter be in one group."
                )
            taken[k] = i
        out.append((names, {k: x for k, x in group.items() if k != "params"}))
    rest = [k for k in params if k not in taken]
    return ([(rest, {})] if rest else []) + out


def bound(part: Part, params: Iterable[str], model: nn.Module | None, roles: Roles) -> Part:
    """The composition with the roles of the parameters, where it asks for them."""
    if not isinstance(roles, (Mapping, Tags, type(None))):
        raise TypeError(
            f'torch_optimizer: roles is {roles!r}, but must map names to roles; give {{"head.weight": "head"}}, say.'
        )
    if not asks(part):
        return part
    if model is not None:
        from adamantine.tagger import tag

        return bind(part, roles if isinstance(roles, Tags) else tag(model, roles))
    if roles is None:
        raise ValueError(
            "torch_optimizer: this composition depends on the roles of parameters, which their names do not tell; "
            'give the module itself, or roles={"head.weight": "head", ...} for every parameter.'
        )
    if isinstance(roles, Tags):
        roles = dict(roles.pairs)
    missing = [k for k in params if k not in roles]
    if missing:
        raise ValueError(f"torch_optimizer: no role is given for {missing[0]!r}; add it to roles.")
    return bind(part, Tags(tuple((k, x if isinstance(x, Tag) else Tag(x)) for k, x in roles.items())))
