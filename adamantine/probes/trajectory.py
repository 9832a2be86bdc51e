"""The plane in which a run moved most: principal components of its weights, beside those of a random walk.

In many dimensions the first component of a random walk holds 61 % of its variance and the first two 76 %, and its
projection is a smooth curve (a Lissajous figure: Antognini & Sohl-Dickstein, arXiv:1806.08805). That two components
hold nearly all of the variance, and that the path looks smooth, is therefore no finding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adamantine.probes.slices import fits
from adamantine.tree import Params


@dataclass(frozen=True)
class TrajectoryPlane:
    """The plane through the last of `T` snapshots along their first two principal components.

    `a` and `b` are orthogonal directions of length 1, and `path [T, 2]` the coordinates of the snapshots: snapshot `t`
    projects to `last + path[t, 0] a + path[t, 1] b`, so that the last is at the origin. `explained` is the share of the
    snapshots' variance in each component, in descending order, and `null` what it is expected to be for a random walk
    with steps of the same lengths in very many dimensions: only what exceeds it tells of the run.
    """

    a: Params = field(repr=False)
    b: Params = field(repr=False)
    path: Tensor = field(repr=False)
    explained: tuple[float, ...]
    null: tuple[float, ...]


def trajectory_plane(snapshots: Sequence[Params]) -> TrajectoryPlane:
    """From the weights at successive times, the last being where the slice is to be centred.

    They are kept by whoever trains; the checkpoints of a `Run`'s events hold them as `state["w"]`. Takes the inner
    products of all pairs of snapshots, in float64. Raises ValueError for fewer than three snapshots, and where they
    lie on a line.
    """
    if len(snapshots) < 3:
        raise ValueError(f"trajectory_plane: {len(snapshots)} snapshots span no plane; give at least three.")
    last = snapshots[-1]
    for w in snapshots:
        fits(w, last)
    gram = torch.stack([_moved(snapshots, k) @ _moved(snapshots, k).T for k in last]).sum(0)
    values, vectors = _components(gram)
    if not float(values[1]) > 1e-12 * float(values[0]):
        raise ValueError("trajectory_plane: the snapshots lie on a line; use slices.line along it.")
    inner = vectors[:, :2] / values[:2].sqrt()
    path = gram @ inner
    inner, path = inner * path[0].sign(), path * path[0].sign()
    found = {k: inner.T @ _moved(snapshots, k) for k in last}
    a, b = ({k: found[k][i].to(x).reshape(x.shape) for k, x in last.items()} for i in range(2))
    steps = (gram.diagonal()[:-1] + gram.diagonal()[1:] - 2 * gram.diagonal(1)).clamp_min(0).sqrt()
    return TrajectoryPlane(a, b, path, _shares(values), walk_shares(steps.tolist()))


def walk_shares(lengths: Sequence[float]) -> tuple[float, ...]:
    """Shares of variance of the components of a random walk with steps of these lengths, in very many dimensions.

    For `T - 1` equal steps they are proportional to `1 / sin^2(pi k / (2 T))`, `k = 1 ... T - 1`.
    """
    steps = torch.tensor([0.0, *lengths], dtype=torch.float64).square()
    reached = torch.arange(len(steps))
    return _shares(_components(steps.cumsum(0)[torch.minimum(reached[:, None], reached)])[0])


def _moved(snapshots: Sequence[Params], k: str) -> Tensor:
    """How far the tensor `k` of each snapshot is from the last, `[T, n]`, float64, on the CPU."""
    rows = torch.stack([w[k].detach().reshape(-1).cpu().double() for w in snapshots])
    return rows - rows[-1]


def _components(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the inner products of the centred rows, descending, and eigenvectors, a column each."""
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    values, vectors = torch.linalg.eigh(centred)
    return values.flip(0), vectors.flip(1)


def _shares(values: Tensor) -> tuple[float, ...]:
    """Of all but the last, which centring makes zero."""
    kept = values[:-1].clamp_min(0)
    return tuple((kept / kept.sum()).tolist())
