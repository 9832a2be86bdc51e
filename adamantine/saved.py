"""A checkpoint of an optimizer by parameter names: what `TorchOptimizer.state_dict` writes, checked and read back."""

from typing import Any

import torch
from torch import Tensor

from adamantine.cohorts import Cohorts
from adamantine.named_state import joined, nested, paths, shared, split
from adamantine.part import Part, State
from adamantine.rated import structure
from adamantine.tree import Params

SCHEMA = 1
OWN = ("params", "param_names", "recipe", "base_lr")


def written(recipe: str, step: int, groups: list[dict[str, Any]], kept: list[Cohorts]) -> dict[str, Any]:
    """The checkpoint: tensors, numbers, strings and containers of them, and nothing else."""
    state = {
        name: paths(s, name)
        for of_group in kept
        for names, held in of_group.kept
        for name, s in split(held, dict.fromkeys(names)).items()
    }
    return {
        "schema": SCHEMA,
        "recipe": recipe,
        "step": step,
        "state": state,
        "param_groups": [
            {
                "params": list(g["param_names"]),
                "shapes": [list(x.shape) for x in g["params"]],
                "structure": structure(g["recipe"]),
                **options(g),
            }
            for g in groups
        ],
    }


def options(group: dict[str, Any]) -> dict[str, Any]:
    """What schedulers and users keep in a group, as plain values."""
    plain = {k: x.item() if isinstance(x, Tensor) and x.numel() == 1 else x for k, x in group.items() if k not in OWN}
    return {k: x for k, x in plain.items() if isinstance(x, (int, float, str, bool)) or x is None}


def refuse_foreign(saved: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    """ValueError where a checkpoint is none of ours, of another version, of other parameters or of other parts."""
    if not isinstance(saved, dict) or "schema" not in saved:
        raise ValueError(
            "torch_optimizer: this is no checkpoint of an adamantine optimizer, which has a schema; give what its "
            "state_dict() returned."
        )
    if saved["schema"] != SCHEMA:
        raise ValueError(
            f"torch_optimizer: the checkpoint has schema {saved['schema']!r}, and this version reads {SCHEMA}; load it "
            "with the version that wrote it."
        )
    for key, what in (("step", int), ("state", dict), ("param_groups", list)):
        if not isinstance(saved.get(key), what):
            raise ValueError(
                f"torch_optimizer: the checkpoint is damaged, for its {key!r} is {type(saved.get(key)).__name__}; give "
                "all that state_dict() returned."
            )
    theirs = {
        name: (tuple(shape), g["structure"])
        for g in saved["param_groups"]
        for name, shape in zip(g["params"], g["shapes"], strict=True)
    }
    mine = {
        name: (tuple(x.shape), structure(g["recipe"]))
        for g in groups
        for name, x in zip(g["param_names"], g["params"], strict=True)
    }
    lacking, extra = [k for k in mine if k not in theirs], [k for k in theirs if k not in mine]
    if lacking or extra:
        parts = [f"{what} {_some(names)}" for what, names in (("lacks", lacking), ("has besides", extra)) if names]
        raise ValueError(
            f"torch_optimizer: the checkpoint is of other parameters: it {' and '.join(parts)}; load it into the "
            "optimizer of the same model."
        )
    for name, (shape, parts) in mine.items():
        if shape != theirs[name][0]:
            raise ValueError(
                f"torch_optimizer: {name!r} has shape {shape} here and {theirs[name][0]} in the checkpoint; load it "
                "into the optimizer of the same model."
            )
        if parts != theirs[name][1]:
            raise ValueError(
                f"torch_optimizer: {name!r} is stepped by {parts} here, and the checkpoint is of {theirs[name][1]}; "
                "build the optimizer from the same recipe (its numbers may differ)."
            )


def restore_options(saved: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    """Give every group the rate, and what else schedulers keep, of the one in the checkpoint that is most like it."""
    for group in groups:
        names = set(group["param_names"])
        nearest = max(saved["param_groups"], key=lambda g: len(names & set(g["params"])))
        group.update({k: x for k, x in nearest.items() if k not in ("params", "shapes", "structure")})


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read(saved: dict[str, Any], group: dict[str, Any], part: Part, w: Params) -> Cohorts:
    """The states of a group's parameters; ValueError where they do not fit `part` on weights of the shapes of `w`."""
    devices = {k: x.device for k, x in zip(group["param_names"], group["params"], strict=True)}
    out: dict[Any, tuple[tuple[str, ...], State]] = {}
    for name in (k for k in group["param_names"] if k in saved["state"]):
        flat = {path: _copied(x, devices[name]) for path, x in saved["state"][name].items()}
        _refuse_shapes(name, flat, part, w)
        count, s = shared(flat), nested(flat, name)
        if out and not part.local and count not in out:
            raise ValueError(
                f"torch_optimizer: {name!r} and {next(iter(out.values()))[0][0]!r} have made different steps in the "
                "checkpoint, but this composition keeps one state for a group; group them as they were."
            )
        names, held = out.get(count, ((), s))
        names = (*names, name)
        out[count] = names, joined(held, s, set(names))
    return Cohorts(list(out.values()))


def _copied(x: Any, device: torch.device) -> Any:
    return x.detach().clone().to(device) if isinstance(x, Tensor) else x


def _refuse_shapes(name: str, flat: dict[str, Any], part: Part, w: Params) -> None:
    """A state of other shapes is one of other numbers, such as a rank, that a state depends on."""
    try:
        fresh = paths(part.init({name: w[name]}), name)
    except Exception:
        return  # it cannot be told without content
    for path, x in fresh.items():
        there = flat.get(path)
        if isinstance(x, Tensor) and isinstance(there, Tensor) and x.shape != there.shape:
            raise ValueError(
                f"torch_optimizer: the state of {name!r} has shape {tuple(there.shape)} in the checkpoint and would "
                f"have {tuple(x.shape)} here; give the recipe the numbers that it had."
            )
