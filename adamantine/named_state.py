"""The state of an optimizer by parameter: cut into what belongs to each name, joined again, written as plain paths.

A dict whose keys are parameters (`NAME`, or `NAME/...` for a piece of one) is cut by name; all else is shared.
"""

from collections.abc import Collection, Iterable
from typing import Any

from torch import Tensor

from adamantine.part import State


def owner(key: str, names: Collection[str]) -> str | None:
    """The parameter that a key of the state speaks of; None where it speaks of none."""
    while key not in names:
        key, slash, _ = key.rpartition("/")
        if not slash:
            return None
    return key


def keyed(s: State, names: Collection[str]) -> bool:
    """Whether `s` is a dict keyed by parameters."""
    return isinstance(s, dict) and all(owner(k, names) is not None for k in s)


def only(s: State, keep: Collection[str], names: Collection[str], copies: bool = True) -> State:
    """The state of the parameters `keep` out of `names`; with `copies`, shared tensors are copied."""
    if isinstance(s, dict):
        if keyed(s, names):
            return {k: x for k, x in s.items() if owner(k, names) in keep}
        return {k: only(x, keep, names, copies) for k, x in s.items()}
    if isinstance(s, (tuple, list)):
        return type(s)(only(x, keep, names, copies) for x in s)
    return s.clone() if copies and isinstance(s, Tensor) else s


def split(s: State, names: Collection[str]) -> dict[str, State]:
    """The state of every parameter, by name."""
    if isinstance(s, dict):
        if keyed(s, names):
            out: dict[str, State] = {name: {} for name in names}
            for k, x in s.items():
                out[owner(k, names) or ""][k] = x
            return out
        parts = {k: split(x, names) for k, x in s.items()}
        return {name: {k: x[name] for k, x in parts.items()} for name in names}
    if isinstance(s, (tuple, list)):
        items = [split(x, names) for x in s]
        return {name: type(s)(x[name] for x in items) for name in names}
    return dict.fromkeys(names, s)


def joined(s: State, after: State, names: Collection[str]) -> State:
    """`s` with the state `after` of some parameters put in; what is shared is taken from `after`."""
    if isinstance(s, dict) and isinstance(after, dict):
        if keyed(s, names) and keyed(after, names):
            return {**s, **after}
        return {k: joined(s[k], x, names) if k in s else x for k, x in after.items()}
    if isinstance(s, (tuple, list)) and type(s) is type(after) and len(s) == len(after):
        return type(s)(joined(x, y, names) for x, y in zip(s, after, strict=True))
    return after


def paths(s: State, name: str) -> dict[str, Any]:
    """The state of one parameter without nesting: `{"0/:@": tensor, "1": 3}`, "@" for the parameter's own name.

    A step into a tuple is `0`, into a list `[0]`, into a dict `:key`. Empty containers are leaves.
    """
    return dict(_paths(s, name, ()))


def _paths(s: State, name: str, path: tuple[str, ...]) -> Iterable[tuple[str, Any]]:
    if isinstance(s, dict) and s:
        pairs = [(":" + _written(k, name), x) for k, x in s.items()]
    elif isinstance(s, (tuple, list)) and s:
        pairs = [(f"[{i}]" if isinstance(s, list) else str(i), x) for i, x in enumerate(s)]
    else:
        yield "/".join(path), s
        return
    for step, x in pairs:
        yield from _paths(x, name, (*path, step))


def _written(key: str, name: str) -> str:
    own = key == name or key.startswith(name + "/")
    rest = key[len(name) :] if own else key
    return ("@" if own else "") + rest.replace("~", "~0").replace("/", "~1").replace("@", "~2")


def _read(token: str, name: str) -> str:
    own = token.startswith("@")
    rest = token[own:].replace("~2", "@").replace("~1", "/").replace("~0", "~")
    return name + rest if own else rest


def nested(leaves: dict[str, Any], name: str) -> State:
    """Inverse of `paths`."""
    return _nested({tuple(path.split("/")) if path else (): x for path, x in leaves.items()}, name)


def _nested(leaves: dict[tuple[str, ...], Any], name: str) -> State:
    if () in leaves:
        return leaves[()]
    below: dict[str, dict[tuple[str, ...], Any]] = {}
    for path, x in leaves.items():
        below.setdefault(path[0], {})[path[1:]] = x
    parts = {step: _nested(x, name) for step, x in below.items()}
    first = next(iter(parts))
    if first.startswith(":"):
        return {_read(step[1:], name): x for step, x in parts.items()}
    ordered = [x for _, x in sorted(parts.items(), key=lambda pair: int(pair[0].strip("[]")))]
    return ordered if first.startswith("[") else tuple(ordered)


def shared(leaves: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The numbers of a parameter's state that it has in common with its group, with their paths."""
    kept = ((k, leaves[k]) for k in sorted(leaves) if isinstance(leaves[k], (int, float, str)) and ":@" not in k)
    return tuple((k, repr(x) if x != x else x) for k, x in kept)  # one NaN is as good as another here
