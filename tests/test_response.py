"""What parts say of their answer to a small change of the gradient, against the steps that they take."""

import dataclasses
import inspect
from functools import cache

import pytest
import torch
from test_contract_parts import Surface, built, kinds, label, on_surfaces, recipe_functions, usual_rate

from adamantine import tree
from adamantine.optim.basis import InBasis
from adamantine.optim.decay import Decay
from adamantine.optim.eigenbasis import Eigenbasis, soap
from adamantine.optim.graft import Graft
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.scale import Normalize
from adamantine.optim.schedule_free import ScheduleFree
from adamantine.optim.second_moment import Rms
from adamantine.optim.shampoo import shampoo
from adamantine.optim.sign import Sign
from adamantine.optim.torch_step import TorchStep
from adamantine.optim.trust import Trust
from adamantine.part import Part
from adamantine.point import Point, stream
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.response import Response, response
from adamantine.route import Route

SHORT = {"beta": 0.5, "beta1": 0.5, "beta2": 0.6, "beta3": 0.7, "momentum": 0.4, "warmup": 0, "every": 1000}
STEPS = 90  # after which an average with any of these has forgotten its start
LOOSE = {"Sm3": 2 / STEPS}  # its accumulators are short of one square


def short(kind):
    """Those of the coefficients that `kind` has, so that its averages settle within the test."""
    known = inspect.signature(kind).parameters
    wraps = {k: Ema(0.5) >> Rms(0.6) for k in ("inner", "moment", "direction")}
    return {k: x for k, x in (SHORT | wraps).items() if k in known}


def singles():
    return [on_surfaces(dataclasses.replace(built(k), **short(k))) for k in kinds() if not k.inherits]


@cache
def settling():
    made = [on_surfaces(f(**{**short(f), "lr": usual_rate(f)})) for f in recipe_functions()]
    more = [
        Decay(0.1) >> Momentum(0.5, nesterov=True) >> Lr(0.1),
        Ema(0.5, nesterov=True) >> Rms(0.5, shape="row") >> Decay(0.1) >> Lr(0.1),
        Ema(0.5) >> Rms(0.5) >> Trust(1.0, 0.1) >> Momentum(0.3),
        Route(is_matrix, Ema(0.5) >> Eigenbasis(Ema(0.4) >> Rms(0.5), 0.5, every=1000), Momentum(0.3)) >> Lr(0.1),
        InBasis(Momentum(0.5) >> Rms(0.5) >> Lr(0.1), BlockHaar("all")) >> Ema(0.5) >> Decay(0.2),
        Graft(Momentum(0.5) >> Rms(0.5), Ema(0.5) >> Decay(0.1)) >> Lr(0.1),
        shampoo(0.1, 0.5, graft="adam", beta1=0.5, beta2=0.5),
        shampoo(0.1, 0.5, graft="sgd", every=2),
        InBasis(InBasis(Rms(0.5), BlockHaar("row")) >> Lr(0.1), BlockHaar("all")),
    ]
    torchs = [TorchStep(getattr(torch.optim, name), options) for name, options in TORCH]
    return [*singles(), *made, *more, *torchs]


TORCH = [
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "dampening": 0.2, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {"betas": (0.5, 0.6), "weight_decay": 0.1}),
    ("Adam", {"betas": (0.5, 0.6), "amsgrad": True}),
    ("AdamW", {"betas": (0.5, 0.6), "weight_decay": 0.1}),
    ("NAdam", {"betas": (0.5, 0.6), "weight_decay": 0.1, "momentum_decay": 0.5}),
    ("NAdam", {"betas": (0.5, 0.6), "weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.5}),
    ("RAdam", {"betas": (0.5, 0.6), "weight_decay": 0.1}),
    ("RAdam", {"betas": (0.5, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RMSprop", {"alpha": 0.6, "weight_decay": 0.1}),
    ("RMSprop", {"alpha": 0.6, "momentum": 0.5, "centered": True}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}),
    ("Adamax", {"betas": (0.5, 0.6), "weight_decay": 0.1}),
    ("ASGD", {"weight_decay": 0.1, "lr": 1e-5}),
    ("Adafactor", {"weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.2}),
]


def is_matrix(name, x):
    return x.ndim >= 2


def flipped(part, steps=STEPS):
    """A gradient, and weights, that change their sign at every step: the last step, the point and the state after."""
    task = Surface()
    w = task.init(stream(0, "init"))
    g = task.init(stream(1, "gradient"))
    batch = task.source(stream(0, "data"))(w)
    s = part.init(w)
    for step in range(steps):
        sign = 1.0 if step % 2 else -1.0
        here = {k: sign * x for k, x in w.items()}
        p = Point(task, here, batch, step, steps).given({k: sign * x for k, x in g.items()})
        u, s = part.update(p.grad, s, p)
    return u, p, s


def predicted(told, p):
    """`back(scale flip forth(g)) + back(pull forth(w))`."""
    g, w = told.turned(p.grad), told.turned(p.w)
    out = {k: told.scale[k] * told.flip[k] * x + told.pull[k] * w[k] for k, x in g.items()}
    return out if told.basis is None else told.basis.back(out)


def apart(a, b):
    return float(tree.norm(tree.add(a, b, -1.0)) / tree.norm(b))


def averages_weights(part):
    """Its step depends on the weights before, which here do not follow from its steps."""
    return isinstance(part, ScheduleFree)


def check_response(part):
    u, p, s = flipped(part)
    told = part.response(s, p)
    if told is None:
        return
    near = max((x for k, x in LOOSE.items() if k in repr(part)), default=1e-6)
    assert list(told.scale) == list(told.flip) == list(told.pull)
    assert apart(predicted(told, p), u) < near, "the answer is not the step"
    if not isinstance(part, TorchStep):  # whose state does not tell the step
        assert apart(told.handed_on(p.grad, p.w), u) < near, "what is handed on is not the step"
    assert all(bool((torch.as_tensor(x) >= 0).all()) for x in told.scale.values())
    v = Surface().init(stream(2, "v"))
    if told.basis is not None:
        assert apart(told.basis.back(told.turned(v)), v) < 1e-9, "the basis is not orthogonal"


@pytest.mark.parametrize("part", [x for x in settling() if not averages_weights(x)], ids=label)
def test_the_answer_to_a_gradient_that_flips_is_the_step(part):
    check_response(part)


# Those that have no linear answer: signs, polar factors, masks, clipped coordinates, sizes taken from the direction
# itself, projections, gradients from elsewhere, and steps of another's code that no reading is known for.
NO_ANSWER = {
    "Bounded",
    "Cautious",
    "Continual",
    "Corrected",
    "CorrectedEma",
    "EqualRows",
    "ErrorFraction",
    "KlStep",
    "Lion",
    "Lmo",
    "Lookahead",
    "LowRank",
    "Normalize",
    "Orthogonalize",
    "Prodigy",
    "Recycled",
    "Sam",
    "ScaledGradient",
    "ShrinkPerturb",
    "Sign",
    "SingularPower",
    "Sinkhorn",
    "Sophia",
    "Steepest",
    "TowardStart",
    "Trac",
    "UpdateNoise",
    "Utility",
}


def test_the_parts_without_an_answer_are_these():
    silent = {type(x).__name__ for x in singles() if x.response(*flipped(x, 3)[:0:-1]) is None}
    assert silent == NO_ANSWER


def step_matrix(part, s, h):
    """The step of weight and `z` on the parabola of curvature `h`, with the average's counts held still."""
    columns = []
    for y, z in ((1.0, 0.0), (0.0, 1.0)):
        w, now = {"w": torch.tensor([y], dtype=torch.float64)}, {"w": torch.tensor([z], dtype=torch.float64)}
        u, after = part.update({"w": h * w["w"]}, (*s[:3], now, s[4]), Point(None, w, None).given({"w": h * w["w"]}))
        columns.append(torch.cat([w["w"] - u["w"], after[3]["w"]]))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("inner", [Lr(0.3), Decay(0.2) >> Lr(0.1)], ids=label)
@pytest.mark.parametrize("steps", [2, 30, 10_000])
def test_an_average_of_weights_is_at_the_edge_where_an_eigenvalue_of_its_step_is_minus_one(inner, steps):
    part, rate = ScheduleFree(inner, 0.8), 0.3 if isinstance(inner, Lr) else 0.1
    w = {"w": torch.ones(1, dtype=torch.float64)}
    s = (steps, steps * rate**2, rate, w, inner.init(w))
    after = (steps + 1, (steps + 1) * rate**2, rate, w, s[4])
    told = part.response(after, Point(None, w, None).given(w))
    h = (2 - told.pull["w"]) / (told.scale["w"] * told.flip["w"])
    assert float(torch.linalg.eigvals(step_matrix(part, s, h)).real.min()) == pytest.approx(-1, abs=1e-9)


@pytest.mark.parametrize(
    ("part", "threshold"),
    [
        (Lr(1.0), 2.0),
        (Momentum(0.9) >> Lr(1.0), 2 * 1.9),
        (Momentum(0.9, nesterov=True) >> Lr(1.0), 2 * 1.9 / 2.8),
        (Ema(0.9, debias=False) >> Lr(1.0), 38.0),
        (Decay(0.1) >> Lr(1.0), 1.9),
        (Decay(0.1) >> Momentum(0.9) >> Lr(1.0), 2 * 1.9 - 0.1),
        (Momentum(0.9) >> Decay(0.1) >> Lr(1.0), 1.9 * 1.9),
    ],
    ids=label,
)
def test_thresholds_are_those_of_the_recursion(part, threshold):
    """Just below, gradient steps on a parabola die out; just above, they explode."""
    one = {"w": torch.ones(1, dtype=torch.float64)}
    told = part.response(flipped_one(part), Point(None, one, None).given(one))
    found = (2 - told.pull["w"]) / (float(told.scale["w"]) * told.flip["w"])
    assert found == pytest.approx(threshold, rel=1e-12)
    for h, dies in ((0.99 * threshold, True), (1.01 * threshold, False)):
        w, s = one, part.init(one)
        for step in range(4000):
            g = {"w": h * w["w"]}
            u, s = part.update(g, s, Point(None, w, None, step, 4000).given(g))
            w = tree.add(w, u, -1.0)
        assert (float(w["w"].abs()) < 1e-3) == dies


def flipped_one(part):
    one = {"w": torch.ones(1, dtype=torch.float64)}
    return part.update(one, part.init(one), Point(None, one, None).given(one))[1]


# --- how answers are put together -----------------------------------------------------------------------------


def test_scales_that_do_not_commute_have_no_common_answer():
    w = Surface().init(stream(0, "init"))
    turned = InBasis(Rms(0.5), BlockHaar("all"))
    for part in (
        turned >> Rms(0.5),
        Rms(0.5) >> turned,
        turned >> turned,
        turned >> Route(is_matrix, Lr(0.1), Lr(0.2)),
    ):
        _, p, s = flipped(part, 3)
        assert part.response(s, p) is None, f"{part!r} scales in two bases"
    for part in (turned >> Lr(0.1), InBasis(Rms(0.5), BlockHaar("row")) >> Route(is_matrix, Lr(0.1), Lr(0.2))):
        _, p, s = flipped(part, 3)
        assert part.response(s, p) is not None
    assert response(w).commutes(BlockHaar("all"))


def test_a_mask_in_the_chain_leaves_no_answer():
    part = Ema(0.5) >> Normalize() >> Lr(0.1)
    _, p, s = flipped(part, 3)
    assert part.response(s, p) is None
    assert Route(is_matrix, Lr(0.1), Sign()).response(((), ()), p) is None


# --- the test bites -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Wrong(Part):
    """Says something else than it does."""

    told: Response

    def update(self, u, s, p):
        return {k: 2 * x for k, x in u.items()}, s

    def response(self, s, p):
        return self.told


def test_wrong_answers_are_found():
    w = Surface().init(stream(0, "init"))
    check_response(Wrong(response(w, 2.0)))
    for told in (response(w, 2.1), response(w, 2.0, flip=0.9), response(w, 2.0, pull=0.01)):
        with pytest.raises(AssertionError, match="the answer is not the step"):
            check_response(Wrong(told))
    with pytest.raises(AssertionError, match="what is handed on"):
        check_response(Wrong(response(w, 2.0, out=w)))


# --- the probe ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Parabola:
    """Two tensors that a full Hessian couples."""

    size: float = 1.0

    def hessian(self):
        a = torch.randn(5, 5, generator=stream(3, "hessian"), dtype=torch.float64)
        return self.size * (a @ a.T + torch.eye(5))

    def losses(self, w, batch):
        x = tree.flat(w)
        return (0.5 * x @ self.hessian() @ x)[None]


START = {"m": torch.ones(2, 2, dtype=torch.float64), "v": torch.ones(1, dtype=torch.float64)}
MIXED = [
    Route(is_matrix, Momentum(0.5) >> Decay(0.2) >> Lr(0.1), Ema(0.8, debias=False) >> Lr(0.3)),
    Decay(0.1) >> Route(is_matrix, Momentum(0.9, nesterov=True), Ema(0.5, debias=False)) >> Lr(0.2),
    Momentum(0.9) >> Decay(0.3) >> Lr(0.2),
]


def stepped(part, task):
    p = Point(task, START, None)
    return p.after(*part.update(p.grad, part.init(START), p), part)


def at_the_edge(part):
    """The size of the parabola at which the probe says 1."""
    low, high = 1e-6, 1e3
    for _ in range(60):
        middle = (low * high) ** 0.5
        edge = PreconditionedSharpness(5)(stepped(part, Parabola(middle)))["edge"]
        low, high = (middle, high) if edge < 1 else (low, middle)
    return low


def recursion(part, task):
    """The matrix of a step on weights and state together."""
    s = part.init(START)
    at = [(path, x) for path, x in tree.leaves(s) if x.is_floating_point()]
    start = torch.cat([tree.flat(START), *[x.reshape(-1) for _, x in at]])

    def step(v):
        w = tree.like(v[:5], START)
        held = iter(v[5:].split([x.numel() for _, x in at]))
        p = Point(task, w, None)
        u, after = part.update(p.grad, filled(s, held), p)
        kept = [x.reshape(-1) for _, x in tree.leaves(after)]
        return torch.cat([tree.flat(tree.add(w, u, -1.0)), *kept])

    return torch.stack([step(row) for row in torch.eye(len(start), dtype=torch.float64)], 1)


def filled(s, held):
    if isinstance(s, torch.Tensor):
        return next(held).reshape(s.shape)
    if isinstance(s, dict):
        return {k: filled(x, held) for k, x in s.items()}
    return tuple(filled(x, held) for x in s) if isinstance(s, tuple) else s


@pytest.mark.parametrize("part", MIXED, ids=label)
def test_an_edge_of_one_is_where_the_recursion_has_the_eigenvalue_minus_one(part):
    """Also where tensors differ in averages, rates and decay, and the Hessian couples them."""
    size = at_the_edge(part)
    for factor, stable in ((1.0, None), (0.99, True), (1.01, False)):
        values = torch.linalg.eigvals(recursion(part, Parabola(factor * size)))
        if stable is None:
            assert float((values + 1).abs().min()) < 1e-6
        else:
            assert (float(values.abs().max()) < 1) == stable


def test_the_threshold_and_the_edge_are_of_one_piece():
    found = PreconditionedSharpness()(stepped(MIXED[2], Parabola()))
    assert found["stability_threshold"] == pytest.approx((2 - 0.06) * 1.9, rel=1e-12)
    assert found["edge"] == pytest.approx(found["preconditioned_sharpness"] / found["stability_threshold"])
    top = 0.2 * float(torch.linalg.eigvalsh(Parabola().hessian())[-1])
    assert found["preconditioned_sharpness"] == pytest.approx(top)


@pytest.mark.parametrize("part", [Ema(0.5) >> Rms(0.9) >> Decay(0.1) >> Lr(0.1), soap(0.1), shampoo(0.1)], ids=label)
def test_some_of_the_tensors_can_be_asked_alone(part):
    """The block of the Hessian, between the scales of its tensors."""
    p = stepped(part, Parabola()).only(["m"])  # a task that sees its tensors as one vector keeps their order
    found = PreconditionedSharpness(5)(p)["preconditioned_sharpness"]
    told, eye = part.response(p.s, p), torch.eye(4, dtype=torch.float64)
    rows = [{"m": row.reshape(2, 2)} for row in eye]
    s = [told.turned(row)["m"] * told.scale["m"] for row in rows]
    s = [x if told.basis is None else told.basis.back({"m": x})["m"] for x in s]
    values = torch.linalg.eigvals(torch.stack([x.reshape(-1) for x in s], 1) @ Parabola().hessian()[:4, :4])
    assert found == pytest.approx(float(values.real.max()), rel=1e-6)


def test_without_an_answer_or_an_optimizer_there_is_a_sentence():
    p = stepped(Ema(0.5) >> Sign() >> Lr(0.1), Parabola())
    with pytest.raises(ValueError, match=r"Sign\(\).* answers by signs.*no linear threshold.*; measure Sharpness"):
        PreconditionedSharpness()(p)
    with pytest.raises(ValueError, match="has no optimizer; measure it in a Run"):
        PreconditionedSharpness()(dataclasses.replace(p, optimizer=None))
    with pytest.raises(ValueError, match="PreconditionedSharpness: top = 1"):
        PreconditionedSharpness(2)
