"""The role of each tensor in a network, as data, and the compositions that depend on it.

A composition names roles (`Is("embedding", "head")`) and is built without a network; `bind(part, tags)` hands the
network's table to whatever in it asks for one. `tagger.py` reads the table off a `torch.nn.Module`.
"""

import difflib
from dataclasses import dataclass, fields, is_dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from torch import Tensor

from adamantine.part import Part

# The trained matrices of a block: what Muon orthogonalizes. "matrix" is a layer between others that has no name of
# its own (a perceptron's, a pooler's), "convolution" any but the one that cuts an image into patches ("patch").
HIDDEN = ("query", "key", "value", "output", "gate", "up", "down", "matrix", "convolution")
# "position" is a learned table of positions, "head" the layer that gives logits, "token" a learned class or mask token,
# "gain" a vector or scalar that multiplies activations outside a normalization (layer scale, temperature).
ROLES = (*HIDDEN, "embedding", "position", "head", "norm", "bias", "patch", "token", "gain")


@dataclass(frozen=True)
class Cut:
    """A stretch of `size` outputs of a fused tensor that has a role of its own, with its number of attention heads."""

    role: str
    size: int
    heads: int = 0


@dataclass(frozen=True)
class Tag:
    """What one tensor is.

    `cuts` lists, in order along the outputs, what is fused in it; its `role` is then their roles joined by "+".
    `heads` is the number of attention heads that the outputs (of "output": the inputs) split into, 0 where there
    are none. `transposed` says that it is stored `[in, out]`. `tied` says that the embedding is the head as well.
    `experts` is how many matrices are stacked along a first axis of their own (mixtures of experts), 0 where there
    is none. `role` is "?" where the tagger cannot tell.
    """

    role: str
    cuts: tuple[Cut, ...] = ()
    heads: int = 0
    transposed: bool = False
    tied: bool = False
    experts: int = 0

    def __post_init__(self) -> None:
        for role in self.role.split("+"):
            if role not in (*ROLES, "?"):
                raise ValueError(f"Tag: role {role!r} is unknown; give one of {', '.join(ROLES)}.")

    def __repr__(self) -> str:
        """The constructor call, without what is as usual."""
        rest = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        return f"Tag({', '.join([repr(self.role), *rest])})"


@dataclass(frozen=True)
class Tags:
    """The table: a `Tag` for every tensor, by name. Raises ValueError for a name that it lacks or could not tell."""

    pairs: tuple[tuple[str, Tag], ...] = ()

    def __getitem__(self, name: str) -> Tag:
        found = self._named.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._named, 3, 0.3) or list(self._named)[:3]
            raise ValueError(f"Tags: no role is given for {name!r}; there is one for {', '.join(near)} and others.")
        if found.role == "?":
            raise ValueError(
                f"Tags: the role of {name!r} could not be told from the module; say it, as in "
                f'roles={{{name!r}: "up"}}, with one of {", ".join(ROLES)}.'
            )
        return found

    @cached_property
    def _named(self) -> dict[str, Tag]:
        return dict(self.pairs)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the tensors whose role could not be told."""
        return tuple(k for k, tag in self.pairs if tag.role == "?")


@dataclass(frozen=True, init=False)
class Is:
    """`Is("embedding", "head")(name, tensor)`: whether the tensor has one of the roles; for `Route`.

    A fused tensor has a role if every part of it does. Raises ValueError where it is asked before `bind`.
    """

    roles: tuple[str, ...]
    tags: Tags | None

    def __init__(self, *roles: str, tags: Tags | None = None) -> None:
        """Refuse what is no role."""
        if not roles:
            raise ValueError(
                f'Is: no role is given; name some, as in Is("embedding", "head"), out of {", ".join(ROLES)}.'
            )
        for role in roles:
            if role not in ROLES:
                raise ValueError(f"Is: role {role!r} is unknown; give some of {', '.join(ROLES)}.")
        object.__setattr__(self, "roles", roles)
        object.__setattr__(self, "tags", tags)

    def __call__(self, name: str, tensor: Tensor) -> bool:
        """Whether the tensor called `name` has one of the roles."""
        return set(needed("Is", self.tags)[name].role.split("+")) <= set(self.roles)

    def __repr__(self) -> str:
        """The constructor call."""
        table = f", tags={self.tags!r}" if self.tags is not None else ""
        return f"Is({', '.join(map(repr, self.roles))}{table})"


@dataclass(frozen=True)
class Named:
    """Whether a tensor's name fits one of the patterns, `*` as in file names: `Route(Named("critic.*"), yes, no)`."""

    patterns: tuple[str, ...]

    def __init__(self, *patterns: str) -> None:
        """Refuse an empty list of patterns, and what is no text."""
        if not patterns or not all(isinstance(x, str) and x for x in patterns):
            raise ValueError(f'Named: {patterns!r} must be patterns of names; give some, as in Named("critic.*").')
        object.__setattr__(self, "patterns", patterns)

    def __call__(self, name: str, tensor: Tensor) -> bool:
        """Whether the name fits."""
        return any(fnmatchcase(name, x) for x in self.patterns)

    def __repr__(self) -> str:
        """The constructor call."""
        return f"Named({', '.join(map(repr, self.patterns))})"


def needed(owner: str, tags: "Tags | None") -> Tags:
    """`tags`, or a ValueError that says how to give them."""
    if tags is None:
        raise ValueError(
            f"{owner}: which tensor has which role is not known here; give the network's table, as in "
            "bind(optimizer, tag(model)), or a task that has one."
        )
    return tags


def asks(x: Any) -> bool:
    """Whether something in the composition `x` needs a table of roles and has none yet."""
    if isinstance(x, tuple):
        return any(map(asks, x))
    if not is_dataclass(x) or isinstance(x, (type, Tags)):
        return False
    held = {f.name: getattr(x, f.name) for f in fields(x)}
    return ("tags" in held and held["tags"] is None) or any(map(asks, held.values()))


def bind(part: Part, tags: Tags) -> Part:
    """The same composition, with `tags` given to every place that asks for them."""
    return _bound(part, tags)


def _bound(x: Any, tags: Tags) -> Any:
    if isinstance(x, tuple):
        return tuple(_bound(y, tags) for y in x)
    if not is_dataclass(x) or isinstance(x, (type, Tags)):
        return x
    if isinstance(x, Is):
        return Is(*x.roles, tags=tags)
    new = {f.name: _bound(getattr(x, f.name), tags) for f in fields(x) if f.init}
    if "tags" in new:
        new["tags"] = tags
    return replace(x, **new) if any(new[k] is not getattr(x, k) for k in new) else x
