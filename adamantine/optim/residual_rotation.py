"""A rotation of a network that leaves its function as it is: of the residual stream (arXiv:2404.00456, section 4)."""

from dataclasses import dataclass

from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.rotations import haar
from adamantine.role import Tag, Tags, needed
from adamantine.tree import Params

READ = ("query", "key", "value", "gate", "up", "embedding", "position", "head", "token")  # the stream is along inputs
WRITE = ("output", "down", "patch")  # the stream is along outputs
REST = ("norm",)


@dataclass(frozen=True)
class ResidualRotation:
    """The weights of the same function with a residual stream turned by a Haar-random `Q`.

    What reads the stream becomes `W Q'`, what writes to it `Q W`, embeddings are turned row by row. Network, loss and
    the spectrum of the Hessian stay what they are, at every weights, if what acts on the stream itself commutes with
    rotations: RMS normalization with equal gains does, layer normalization does not. Which tensor does what is read off
    its role. Raises ValueError for a role that says nothing of the stream (a convolution, a perceptron's matrix).
    """

    seed: int = 0
    tags: Tags | None = None

    def __post_init__(self) -> None:
        limits.whole(self, 0, seed=self.seed)

    @property
    def normalizes(self) -> frozenset[str]:
        """Every group that contains the rotation: it acts from one side on each matrix."""
        return frozenset({"left-right rotation", "layer rotation", "rotation"})

    def forth(self, a: Params) -> Params:
        """Weights of the turned network."""
        return {k: self._turned(k, x, back=False) for k, x in a.items()}

    def back(self, a: Params) -> Params:
        """Inverse of `forth`."""
        return {k: self._turned(k, x, back=True) for k, x in a.items()}

    def _turned(self, name: str, x: Tensor, back: bool) -> Tensor:
        tag, roles = self._tag(name)
        if roles <= set(REST):
            return x
        if roles <= set(READ) or (tag.transposed and roles <= set(WRITE)):
            return x @ self._matrix(x, x.shape[-1], back).mT
        if (roles <= set(WRITE) and tag.experts) or (roles <= set(READ) and tag.transposed):
            return self._matrix(x, x.shape[-2], back) @ x
        if roles <= set(WRITE):  # a vector of biases too, and the patches' convolution
            return (self._matrix(x, x.shape[0], back) @ x.reshape(len(x), -1)).reshape(x.shape)
        raise ValueError(
            f"ResidualRotation: {name!r} has the role {tag.role!r}, which does not say how it meets the residual "
            f"stream; the network may hold {', '.join((*READ, *WRITE, *REST))} and biases of these."
        )

    def _tag(self, name: str) -> tuple[Tag, set[str]]:
        """Its tag and roles; a bias is written where its matrix writes, and one of what reads is left alone."""
        tags = needed("ResidualRotation", self.tags)
        if tags[name].role != "bias":
            return tags[name], set(tags[name].role.split("+"))
        owner = name.removesuffix(".bias")
        found = [tag for k, tag in tags.pairs if k in (owner, f"{owner}.weight") and tag.role != "bias"]
        roles = set(found[0].role.split("+")) if found else {"bias"}
        return Tag("bias"), roles if roles <= set(WRITE) else set(REST) if found else roles

    def _matrix(self, x: Tensor, size: int, back: bool) -> Tensor:
        q = haar(size, self.seed, x.dtype, x.device)
        return q.mT if back else q
