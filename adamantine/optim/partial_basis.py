"""A change of coordinates for some tensors only: which layers a rotation hurts."""

import fnmatch
from dataclasses import dataclass
from typing import Any

from adamantine.optim.basis import Basis, Identity
from adamantine.tree import Params


@dataclass(frozen=True)
class Only:
    """`basis` for the tensors whose names match one of `names` (`*` as in file names); the others stay as they are."""

    basis: Any = Identity()
    names: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if not isinstance(self.basis, Basis):
            raise TypeError(
                f"Only: basis is a {type(self.basis).__name__}, but must have forth, back and normalizes; give one, "
                'as in Only(BlockHaar("layer"), ("head",)).'
            )
        if not self.names or isinstance(self.names, str):
            raise ValueError(
                f"Only: names is {self.names!r}; give a tuple of names or patterns, as in ('head', '*.up')."
            )

    @property
    def normalizes(self) -> frozenset[str]:
        """Those of the basis: what is left alone is turned by the identity."""
        return self.basis.normalizes

    def forth(self, a: Params) -> Params:
        """Coordinates of `a` in this basis."""
        return {**a, **self.basis.forth(self._chosen(a))}

    def back(self, a: Params) -> Params:
        """Inverse of `forth`."""
        return {**a, **self.basis.back(self._chosen(a))}

    def _chosen(self, a: Params) -> Params:
        return {k: x for k, x in a.items() if any(fnmatch.fnmatchcase(k, n) for n in self.names)}
