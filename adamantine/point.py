"""The two nouns everything else is written in: a `Task` to minimise and a `Point` where we stand.

A task says what the loss is; a point answers questions about it (value, gradient, curvature) lazily,
remembers the answers, and counts what they cost. Optimizers and probes see points and nothing else.
Symbols: `w` weights, `g` gradient, `u` update, `s` state, `p` point.
"""

import fnmatch
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from adamantine.derivatives import DIFFERENCE, KEPT, Products, value, value_and_grad
from adamantine.jacobian import GaussNewton, each_dot
from adamantine.per_example.ask import ask
from adamantine.per_example.passes import GRADS, GRAM, NORMS
from adamantine.pieces import Pieces, pieces
from adamantine.restricted import Restricted
from adamantine.tree import Params, place

Batch = Any
HVP_BY = "how Hessian-vector products are made"
Draw = Callable[[Params], Batch]


@runtime_checkable
class Task(Protocol):
    """What is minimised. Implementations are frozen dataclasses: their fields are their identity.

    Optional: `splits = False` where the loss of one example depends on the others in the batch
    (BatchNorm in training); `fingerprint() -> str` where the data are not determined by the fields;
    `samples(w) -> dict[str, Tensor]` of images `[N, H, W]` in [0, 1] that a report can show;
    `outputs_and_losses(w, batch)`, what the network says and the losses computed from nothing but that, in one graph,
    for products with the generalized Gauss-Newton matrix; what a critic or a regressor predicts, `values(w, batch)`,
    and target less prediction, `errors(w, batch)`, both `[B]`; what actions or labels are drawn from, one an example,
    `distribution(w, batch)` of `torch.distributions`.
    """

    def init(self, rng: torch.Generator) -> Params:
        """Draw initial parameters."""
        ...

    def source(self, rng: torch.Generator) -> Draw:
        """Open a stream of batches; the draw may depend on the weights, as it does in RL.

        All randomness comes from `rng`. A stream may have, besides: where it has other state of its own (a position
        in an epoch), `state_dict()` and `load_state_dict()`, so that a run can be resumed, or `resumable = False`;
        `renewals`, how often the objective has changed so far (a new rollout, a new target network); `held_out`, a
        batch of the present objective that nothing is trained on, or None; and `told()`, numbers it knows of itself.
        """
        ...

    def losses(self, w: Params, batch: Batch) -> Tensor:
        """One loss per example, `[B]`; their mean is the loss. Pure, twice differentiable in `w`."""
        ...

    def score(self, w: Params) -> dict[str, float]:
        """What people care about (accuracy, held-out loss), on data the training never sees."""
        ...


def stream(seed: int | str, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Independent randomness for each named purpose: a generator seeded by hashing `(seed, name)`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Point:
    """Weights `w` and a batch, at `step` of `steps` of training `task`.

    `u` and `s` are the update about to be applied and the optimizer's state after it, once they are known, and
    `optimizer` whose they are: what can be asked for its `response(s, p)` and its `moments(s, w)`.
    `renewals` says how often the objective had changed when the batch was drawn, `held_out` is a batch of the same
    objective that nothing is trained on, where the task keeps one.
    `cost` counts oracle calls (`loss`, `grad`, `hvp`, `ggn`, `each_grad`, `each_norm`, `each_gram`, `each_dot`);
    `notes` is carried from one measured point to the next, so that a probe can start from what it found before.
    """

    task: Task
    w: Params
    batch: Batch
    step: int = 0
    steps: int = 1
    seed: int | str = 0
    u: Params | None = None
    s: Any = None
    optimizer: Any = field(default=None, repr=False, compare=False)
    renewals: int = 0
    held_out: Batch | None = field(default=None, repr=False, compare=False)
    hvp_by: str = field(default="", repr=False, compare=False)
    cost: Counter = field(default_factory=Counter, repr=False, compare=False)
    notes: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def loss(self) -> Tensor:
        """Mean loss over the batch, a scalar without history; only a forward pass, unless the gradient is known."""
        if "value_grad" in self.memo:
            return self.memo["value_grad"][0]
        if "value" not in self.memo:
            self.cost["loss"] += 1
            self.memo["value"] = value(self.task.losses, self.w, pieces(self.batch))
        return self.memo["value"]

    @property
    def grad(self) -> Params:
        """Gradient of the mean loss; zero for a parameter that took no part."""
        if "value_grad" not in self.memo:
            self.cost["grad"] += 1
            self.memo["value_grad"] = value_and_grad(self.task.losses, self.w, pieces(self.batch))
        return self.memo["value_grad"][1]

    def hvp(self, v: Params) -> Params:
        """Hessian-vector product `H v` of the mean loss, by double backward.

        The graph of the gradient is built at the first product and kept with the point, so that each further product
        costs one backward pass through it. Where memory forbids that, or a kernel has no second derivative, `Products`
        does otherwise; `memo["hvp"].by` then says how, and the field `hvp_by` asks for one way.
        """
        self.cost["hvp"] += 1
        if "hvp" not in self.memo or self.hvp_by not in ("", self.memo["hvp"].by):
            by, first = self.hvp_by, self.notes.get(HVP_BY, "")
            self.memo["hvp"] = Products(self.task.losses, self.w, pieces(self.batch), by, first)
        products = self.memo["hvp"]
        out = products(v)
        self.cost["grad"] += 2 * (products.by == DIFFERENCE)
        if products.by != KEPT and not self.hvp_by:
            self.notes[HVP_BY] = products.by  # so that the next point does not run out of memory first
        return out

    def ggn_vp(self, v: Params) -> Params:
        """Product with the generalized Gauss-Newton matrix `J' H_l J`, `J` of the outputs, `H_l` of the loss in them.

        Raises ValueError where the task has no `outputs_and_losses`, or the losses are not computed from outputs alone.
        """
        if "ggn" not in self.memo:
            forward = getattr(self.task, "outputs_and_losses", None)
            if forward is None:
                raise ValueError(
                    f"{type(self.task).__name__}: it does not tell its outputs apart from its losses, which the "
                    "Gauss-Newton matrix needs; give it a method outputs_and_losses(w, batch)."
                )
            self.memo["ggn"] = GaussNewton(forward, self.w, pieces(self.batch))
        self.cost["ggn"] += 1
        return self.memo["ggn"](v)

    def each_dot(self, v: Params) -> Tensor:
        """Inner product of every example's gradient with the direction `v`, `[B]`, without those gradients."""
        self.cost["each_dot"] += 1
        return each_dot(self.task.losses, self.w, pieces(self.batch), v)

    def each_grad(self) -> Params:
        """Gradient of every example, stacked along a new first axis `[B, ...]`.

        This, `each_grad_norm` and `each_gram` take one forward and one backward pass of the batch, which give the
        gradient too, and a second backward pass for shapes seen for the first time, to find out which axes are the
        examples'. `memo["served"]` then says of every tensor whether it was served by "hooks" on the operations it goes
        into or, where there is no rule for one, example by example: by "vmap", or by a "loop" of backward passes.
        Raises ValueError where the task's loss does not split by example.
        """
        self.cost["each_grad"] += 1
        return self._each(GRADS)

    def _each(self, want: str) -> Params:
        owner = self.task.task if isinstance(self.task, Restricted) else self.task
        found = ask(self.task, owner, self.w, self.batch, want, "value_grad" not in self.memo)
        if found.total is not None:
            grad = {k: x / len(found.losses) for k, x in found.total.items()}
            self.memo["value_grad"] = found.losses.mean(), grad
        self.memo["served"] = found.how
        return found.found

    def each_grad_norm(self) -> dict[str, Tensor]:
        """Euclidean norm of every example's gradient, `[B]`, tensor by tensor, and without the gradients if cheaper."""
        if "each_norm" not in self.memo:
            self.cost["each_norm"] += 1
            self.memo["each_norm"] = {k: x.sqrt() for k, x in self._each(NORMS).items()}
        return self.memo["each_norm"]

    def each_gram(self) -> Tensor:
        """Inner products of the gradients of all pairs of examples, `[B, B]`, without the gradients if cheaper."""
        if "each_gram" not in self.memo:
            self.cost["each_gram"] += 1
            self.memo["each_gram"] = self._each(GRAM)[GRAM]
        return self.memo["each_gram"]

    def only(self, names: Iterable[str]) -> "Point":
        """The same point as a function of the tensors `names` (`*` as in file names), while the others stand still."""
        found = {a: [a] if a in self.w else fnmatch.filter(self.w, a) for a in names}
        kept = [*dict.fromkeys(k for names in found.values() for k in names)]
        unknown = [a for a, names in found.items() if not names]
        if unknown or not kept:
            raise ValueError(f"Point.only: there is no tensor {unknown}; choose among {', '.join(self.w)}.")
        u = None if self.u is None else {k: self.u[k] for k in kept}
        return replace(self, task=Restricted(self.task, self.w), w={k: self.w[k] for k in kept}, u=u, memo={})

    def fresh(self, name: str) -> "Point":
        """The same weights on a batch drawn independently of this one, by the task, for this purpose and step."""
        like = next(iter(self.w.values()))
        draw = self.task.source(self.rng(f"fresh/{name}"))
        batches = tuple(place(draw(self.w), like.device, like.dtype) for _ in pieces(self.batch))
        return self.on(Pieces(batches) if isinstance(self.batch, Pieces) else batches[0])

    def at(self, w: Params) -> "Point":
        """The same batch, seen from other weights."""
        return replace(self, w=w, u=None, s=None, memo={})

    def on(self, batch: Batch) -> "Point":
        """The same weights, seen on other data."""
        return replace(self, batch=batch, memo={})

    def given(self, grad: Params, w: Params | None = None) -> "Point":
        """The same point with `grad` standing in for the gradient, and `w`, if given, for the weights.

        The loss stays the one measured here; it is computed only if somebody asks.
        """
        memo = {"value_grad": _Standing(self, grad)}
        return replace(self, w=self.w if w is None else w, memo=memo)

    def after(self, u: Params, s: Any, optimizer: Any = None) -> "Point":
        """The same point, once the optimizer has answered with the update `u` and its state `s`."""
        return replace(self, u=u, s=s, optimizer=optimizer)

    def rng(self, name: str) -> torch.Generator:
        """Randomness that depends on the run's seed, the step and the purpose, and on nothing else."""
        return stream(self.seed, f"{name}/{self.step}")


class _Standing:
    """The pair (loss, gradient) of a point whose gradient was replaced."""

    def __init__(self, point: Point, grad: Params) -> None:
        self.point, self.grad = point, grad

    def __getitem__(self, i: int) -> Any:
        return self.grad if i else self.point.loss
