"""A run half way, on disk: one safetensors file with the tensors, and the rest as JSON in its header.

Nothing is pickled, so a file from elsewhere can be opened without running what it holds.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adamantine.run import Checkpoint, Row


def save(path: Path, checkpoint: Checkpoint, rows: list[Row]) -> None:
    """Write `checkpoint` and the rows measured before it to `path`, aside first and then renamed.

    Raises TypeError where the state holds anything but nested tuples, lists, dicts, tensors, numbers and strings.
    """
    tensors: dict[str, Tensor] = {}
    held = {
        "step": checkpoint.step,
        "rows": [[r.step, r.name, r.value] for r in rows],
        "state": _encode(checkpoint.state, tensors, "state"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, aside, {"checkpoint": json.dumps(held)})
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path) -> tuple[Checkpoint, list[Row]] | None:
    """What `save` wrote; None where there is no file or it is not whole (the run then starts afresh)."""
    try:
        with safe_open(path, "pt") as file:
            held = json.loads((file.metadata() or {})["checkpoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        state = _decode(held["state"], tensors)
        return Checkpoint(held["step"], state), [Row(*row) for row in held["rows"]]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def _encode(x: Any, tensors: dict[str, Tensor], where: str) -> Any:
    if isinstance(x, Tensor):
        name = str(len(tensors))
        # A copy: safetensors refuses tensors that share memory, and training goes on meanwhile.
        tensors[name] = x.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {"tensor": name}
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, (tuple, list)):
        kind = "tuple" if isinstance(x, tuple) else "list"
        return {kind: [_encode(y, tensors, f"{where}[{i}]") for i, y in enumerate(x)]}
    if isinstance(x, dict):
        return {"dict": [[k, _encode(y, tensors, f"{where}[{k!r}]")] for k, y in x.items()]}
    raise TypeError(
        f"{where} is a {type(x).__name__}, which cannot be checkpointed; keep state and notes to nested tuples, "
        "lists, dicts, tensors, numbers and strings."
    )


def _decode(x: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(x, dict):
        return x
    (kind, held), *_ = x.items()
    if kind == "tensor":
        return tensors[held]
    if kind == "dict":
        return {k: _decode(y, tensors) for k, y in held}
    items = [_decode(y, tensors) for y in held]
    return tuple(items) if kind == "tuple" else items
