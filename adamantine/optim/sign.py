"""Sign descent: signSGD and Signum (Bernstein et al., arXiv:1802.04434)."""

from dataclasses import dataclass

from adamantine import tree
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class Sign(Part):
    """Keep only the sign of each coordinate."""

    symmetry = "signed permutation"

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`sign(u)`, zero at zero."""
        return tree.each(lambda x: x.sign(), u), s
