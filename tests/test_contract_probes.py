"""Every probe and assumption, found by walking: known answers on quadratics, symmetry both ways, nothing changed."""

import dataclasses
import inspect
import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from test_contract_parts import Surface, Turn, copied, is_data, same
from walk import names, public

from adamantine import tree
from adamantine.listing import entries
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.point import Point, stream
from adamantine.symmetry import GROUPS, holds
from adamantine.tasks.quadratic import Quadratic

BOUNDS = ("exact", "lower", "upper", "unbiased")
SPECTRA = {
    "convex": (3.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02),
    "saddle": (-4.0, 2.0, 1.0, 0.5, 0.2, 0.1, -0.4, -1.5),
    "idle": (3.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.0, 0.0),  # in the identity basis the last two take no part
}


def kinds(package):
    return public(package, lambda x: inspect.isclass(x) and dataclasses.is_dataclass(x) and "__call__" in vars(x))


PROBES, ASSUMPTIONS = kinds("adamantine.probes"), kinds("adamantine.assume")
BOTH = [*PROBES, *ASSUMPTIONS]


def name(kind):
    return kind.__name__


def batch_of(task, w, seed=0):
    return tree.place(task.source(stream(seed, "data"))(w), "cpu", torch.float64)


def point(spectrum="convex", basis="random", seed=0):
    """A point of a quadratic in a matrix and a vector, with the update that Adam takes from there."""
    task = Quadratic(SPECTRA[spectrum], basis, matrix=(3, 2), basis_seed=seed)
    w = tree.place(task.init(stream(seed, "init")), "cpu", torch.float64)
    return stepped(Point(task, w, batch_of(task, w, seed), seed=seed))


def stepped(p):
    optimizer = Ema() >> Rms(eps=0.1) >> Lr(0.01)  # so that the first update is not all signs
    return p.after(*optimizer.update(p.grad, optimizer.init(p.w), p), optimizer)


def noisy(seed=0, turn=None):
    """A point of a surface that is no quadratic, with gradients that differ from one example to the next."""
    plain = Surface(matrix=(3, 2), vector=2)
    w = plain.init(stream(seed, "init"))
    task = plain if turn is None else dataclasses.replace(plain, transform=turn)
    return stepped(Point(task, w if turn is None else turn.forth(w), plain.source(stream(seed, "data"))(w), seed=seed))


class Lost:
    """A loss whose value, gradient and curvature are no numbers."""

    def losses(self, w, batch):
        return (math.nan * tree.flat(w) ** 4).sum()[None]


def called(probe, p):
    out = probe(p)
    return out if isinstance(out, dict) else {type(probe).__name__: out}


def bound_of(probe):
    return getattr(probe, "bound", "exact")


def of_noise(probe):
    return not hasattr(probe, "on_quadratic")


def answer(probe, p, h):
    """The closed form: for the Hessian `h`, or for the gradients of the examples."""
    return probe.on_examples(p, each_flat(p)) if of_noise(probe) else probe.on_quadratic(p, h)


def each_flat(p):
    """Gradients of the examples, one a row."""
    return torch.cat([x.flatten(1) for x in p.each_grad().values()], 1)


def check_answers(probe, p, h):
    """The measurement stands to the closed form as its `bound` says."""
    exact, found, who = answer(probe, p, h), called(probe, p), type(probe).__name__
    assert set(exact) <= set(found), f"{who} has closed forms for what it does not measure"
    for key, value in exact.items():
        if bound_of(probe) == "exact":
            assert found[key] == pytest.approx(value, rel=1e-6), f"{who}: {key}"
        elif bound_of(probe) == "lower":
            assert 0.7 * value < found[key] <= value * (1 + 1e-9), f"{who}: {key} is no lower bound"
        elif bound_of(probe) == "upper":
            assert value * (1 - 1e-9) <= found[key] < value / 0.7, f"{who}: {key} is no upper bound"
        else:
            check_unbiased(probe, p, key, value)


def check_unbiased(probe, p, key, value, draws=250):
    found = [called(probe, dataclasses.replace(p, step=i, memo=p.memo)) for i in range(draws)]
    x = torch.tensor([f[key] for f in found], dtype=torch.float64)
    slack = 4 * float(x.std()) / draws**0.5 + 1e-9 * abs(value)
    assert abs(float(x.mean()) - value) < slack, f"{type(probe).__name__}: {key} is biased"
    name, slash, part = key.partition("/")
    errors = torch.tensor([f[f"{name}_error{slash}{part}"] for f in found], dtype=torch.float64)
    if float(x.std()) < 1e-9 * abs(value):
        assert float(errors.max()) < 1e-6 * abs(value), "it does not vary, and its error does not say so"
        return
    assert 0.8 < float(errors.square().mean().sqrt() / x.std()) < 1.5, "its error is not its standard deviation"


def check_unchanged(kind):
    probe, p = kind(), point()
    before, drawn = (copied(p.w), copied(p.grad), copied(p.u)), torch.get_rng_state()
    first = called(probe, p)
    assert torch.equal(torch.get_rng_state(), drawn), f"{kind.__name__} draws from the global generator"
    assert same((p.w, p.grad, p.u), before), f"{kind.__name__} changes the point"
    assert is_data(p.notes), f"{kind.__name__} keeps notes that cannot be checkpointed"
    assert all(isinstance(v, float) for v in first.values())
    again = called(probe, point())
    assert str(again) == str(first), f"{kind.__name__} is not deterministic"


def dense(turn, w):
    """The group element as a matrix on the flat coordinates."""
    eye = torch.eye(tree.size(w), dtype=torch.float64)
    return torch.stack([tree.flat(turn.forth(tree.like(row, w))) for row in eye], 1)


def asymmetry(assumption, group, seed):
    """Relative change of the constant when the problem is turned by a random element of the group."""
    p = noisy(seed=seed) if of_noise(assumption) else point("saddle", seed=seed)
    turn = Turn(group, p.w, seed)
    q = dense(turn, p.w)
    turned = dataclasses.replace(p.given(turn.forth(p.grad), turn.forth(p.w)), u=turn.forth(p.u))
    if of_noise(assumption):
        g = each_flat(p)
        here, there = assumption.on_examples(p, g), assumption.on_examples(turned, g @ q.T)
    else:
        h = p.task.hessian()
        here, there = assumption.on_quadratic(p, h), assumption.on_quadratic(turned, q @ h @ q.T)
    return max(0.0 if there[k] == here[k] else abs(there[k] / here[k] - 1) for k in here)  # both may be infinite


def check_symmetry(assumption):
    held = holds(assumption.symmetry)
    for group in GROUPS:
        found = max(asymmetry(assumption, group, seed) for seed in range(3))
        who = type(assumption).__name__
        if group in held:
            assert found < 1e-6, f"{who} changes by {found:.1e} under {group}, but declares {assumption.symmetry}"
        else:
            assert found > 1e-4, f"{who} does not change under {group}, but declares only {assumption.symmetry}"


@pytest.mark.parametrize("kind", BOTH, ids=name)
@pytest.mark.parametrize(
    ("spectrum", "basis", "seed"),
    [("convex", "identity", 0), ("convex", "random", 1), ("saddle", "random", 2), ("idle", "identity", 3)],
)
def test_gives_the_known_answer(kind, spectrum, basis, seed):
    p = point(spectrum, basis, seed)
    if of_noise(kind):
        p = noisy(seed)
    check_answers(kind(), p, None if of_noise(kind) else p.task.hessian())


@pytest.mark.parametrize("kind", ASSUMPTIONS, ids=name)
def test_gives_the_known_answer_where_the_loss_is_no_quadratic_and_turned(kind):
    """On the turned surface, the constant of the turned Hessian: what the symmetry test reasons with."""
    plain = Surface(matrix=(2, 2), vector=1)
    w = plain.init(stream(0, "init"))
    turn = Turn("rotation", w, 0)
    p = stepped(Point(Surface((2, 2), 1, turn), turn.forth(w), plain.source(stream(0, "data"))(w)))
    if not getattr(kind, "local", True):
        check_turned(kind, turn, p, plain, w)
        return

    def loss(x):
        return plain.losses(tree.like(x, w), p.batch).mean()

    h = torch.autograd.functional.hessian(loss, tree.flat(w))
    check_answers(kind(), p, turn.q @ h @ turn.q.T)


def check_turned(kind, turn, p, plain, w):
    """A number that depends on the loss elsewhere is that of the surface as it was, the update turned too."""
    assert kind.symmetry == "rotation", "only rotations of all coordinates are tried on numbers without closed forms"
    before = Point(plain, w, p.batch)
    before = before.after(turn.back(p.u), p.s, p.optimizer)
    assert called(kind(), p) == pytest.approx(called(kind(), before), rel=1e-6)


@pytest.mark.parametrize("kind", BOTH, ids=name)
def test_changes_nothing_and_is_deterministic(kind):
    check_unchanged(kind)


@pytest.mark.parametrize("kind", BOTH, ids=name)
def test_no_step_and_no_number_end_no_run(kind):
    """A probe that raised would fail the run; one that made a number out of NaN would lie."""
    probe, p = kind(), point()
    called(probe, p.after({k: torch.zeros_like(x) for k, x in p.u.items()}, p.s, p.optimizer))
    lost = stepped(Point(Lost(), p.w, None))
    found = called(probe, lost)
    p = noisy() if of_noise(kind) else p
    wanted = answer(probe, p, None if of_noise(kind) else p.task.hessian())
    assert not any(math.isfinite(found[k]) for k in wanted), found


COUNTED = [(k, f.name) for k in BOTH for f in dataclasses.fields(k) if f.type in (int, "int")]


@pytest.mark.parametrize(("kind", "count"), COUNTED, ids=lambda x: x if isinstance(x, str) else name(x))
def test_two_of_a_kind_do_not_see_each_other(kind, count):
    one = kind()
    two = dataclasses.replace(one, **{count: getattr(one, count) - 1 or 2})
    alone, beside = {}, {}
    for step in range(3):
        p = dataclasses.replace(point(seed=step), step=step)
        other = dataclasses.replace(p, notes=beside)
        called(one, other)
        assert called(two, other) == called(two, dataclasses.replace(p, notes=alone))


@pytest.mark.parametrize("kind", BOTH, ids=name)
def test_is_a_documented_value(kind):
    probe = kind()
    assert eval(repr(probe), names()) == probe
    assert kind.__dataclass_params__.frozen
    assert len(inspect.getdoc(kind)) > 80
    entry = next(e for which in ("probes", "assumptions") for e in entries(which) if e.name == kind.__name__)
    assert entry.source, f"{kind.__name__} names no source"


def base(key):
    """The name without tensor and error."""
    return key.partition("/")[0].removesuffix("_error")


@pytest.mark.parametrize("kind", PROBES, ids=name)
def test_a_probe_tells_its_units_its_cost_and_when_it_misleads(kind):
    probe, p = kind(), point()
    found = called(probe, p)
    assert {base(k) for k in found} == set(probe.units), "units name what is measured, and nothing else"
    assert all(probe.units.values())
    assert probe.caveat.endswith(".")
    clean = dataclasses.replace(p, memo={}, cost=Counter())
    called(probe, clean)
    asked = {k: n for k, n in clean.cost.items() if n > probe.cost.get(k, 0)}
    assert not asked, f"{kind.__name__} asks {asked} and declares {probe.cost}"


@pytest.mark.parametrize("kind", ASSUMPTIONS, ids=name)
def test_an_assumption_states_itself(kind):
    assert "<=" in kind.statement
    assert kind.bound in BOUNDS
    assert kind.source
    assert kind.larger in ("slower", "faster")
    for words in (kind.null, kind.refuted, kind.means):
        assert words.endswith("."), f"{kind.__name__} does not say what it is compared with, refuted by, or means"
    p = noisy() if of_noise(kind) else point()
    clean = dataclasses.replace(p, memo={}, cost=Counter())
    found = called(kind(), clean)
    declared = kind().cost
    most = {k: declared.get(k, 0) + len(p.w) * declared.get(f"{k} a tensor", 0) for k in clean.cost}
    asked = {k: n for k, n in clean.cost.items() if n > most[k]}
    assert not asked, f"{kind.__name__} asks {asked} and declares {declared}"
    if hasattr(kind, "under_null"):
        null = kind().under_null(p)
        assert null, f"{kind.__name__} has a null without numbers"
        assert set(null) <= set(found)


@pytest.mark.parametrize("kind", ASSUMPTIONS, ids=name)
def test_the_constant_has_the_symmetry_it_declares_and_no_more(kind):
    check_symmetry(kind())


def test_there_are_probes_and_assumptions():
    assert len(PROBES) >= 3
    assert len(ASSUMPTIONS) >= 30


# --- single properties ----------------------------------------------------------------------------------------


def test_few_products_bound_their_error_and_notes_make_them_fewer():
    sharpness = next(k for k in PROBES if k.__name__ == "Sharpness")(products=4)
    spectrum = tuple(1 / (1 + i) ** 0.3 for i in range(200))
    task = Quadratic(spectrum, "random")
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    p, errors = Point(task, w, batch_of(task, w)), []
    for _ in range(12):
        found = sharpness(p)
        nearest = min(abs(found["sharpness"] - x) for x in spectrum)
        assert nearest <= found["sharpness_error"] * (1 + 1e-6)
        errors.append(found["sharpness_error"])
    assert errors[-1] < 0.2 * errors[0], "it starts from what it found before"
    assert p.cost["hvp"] <= 12 * 4, "none where the eigenvector is exact"


def test_sharpness_sees_an_eigenvalue_overtake():
    """From an exact eigenvector alone, products would lead nowhere else, for good and with an error of zero."""
    sharpness = next(k for k in PROBES if k.__name__ == "Sharpness")()
    first = torch.tensor([1 / i for i in range(1, 51)], dtype=torch.float64)
    second = first.clone()
    second[7], notes = 1.5, {}

    @dataclass(frozen=True)
    class Bowl:
        curvature: torch.Tensor

        def losses(self, w, batch):
            return (self.curvature * w["w"].square()).sum()[None] / 2

    for step in range(12):
        h = first if step < 8 else second
        found = sharpness(Point(Bowl(h), {"w": torch.ones_like(h)}, None, step, notes=notes))
    assert found["sharpness"] == pytest.approx(1.5, rel=1e-3)


def test_with_enough_products_smoothness_is_exact():
    smoothness, p = next(k for k in ASSUMPTIONS if k.__name__ == "Smoothness")(8), point("saddle")
    assert smoothness(p) == pytest.approx({"smoothness": 4.0, "smoothness_error": 0.0}, rel=1e-9, abs=1e-9)


def test_known_densities():
    probe = next(k for k in PROBES if k.__name__ == "GradientDensity")()

    def density(p):
        return probe(p)["gradient_density"]

    p, one = point(), {"a": torch.zeros(50, dtype=torch.float64)}
    assert density(p.given({"a": torch.ones(7)})) == pytest.approx(1.0)
    assert math.isnan(density(p.given(one)))
    one["a"][3] = 2.0
    assert density(p.given(one)) == pytest.approx(1 / 50)
    gaussian = {"a": torch.randn(200_000, generator=stream(0, "g"), dtype=torch.float64)}
    assert density(p.given(gaussian)) == pytest.approx(2 / math.pi, abs=0.01)


def test_without_an_update_there_is_a_sentence():
    with pytest.raises(ValueError, match="has no update; measure it in a Run"):
        next(k for k in PROBES if k.__name__ == "DirectionalSharpness")()(dataclasses.replace(point(), u=None))


@pytest.mark.parametrize(("kind", "count"), COUNTED, ids=lambda x: x if isinstance(x, str) else name(x))
def test_an_impossible_count_is_refused(kind, count):
    with pytest.raises(ValueError, match=kind.__name__):
        kind(**{count: 0})


# --- the suite bites ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """The trace, or a multiple said to be the trace, or a bound of it."""

    symmetry: ClassVar[str] = "signed permutation"
    scale: float = 1.0
    bound: str = "exact"

    def __call__(self, p):
        return {"trace": self.scale * sum(p.task.eigenvalues)}

    def on_quadratic(self, p, h):
        return {"trace": float(h.trace())}


@dataclass(frozen=True)
class Noisy:
    """The trace with noise of one tenth, said to be without bias."""

    bound: ClassVar[str] = "unbiased"
    scale: float = 1.0

    def __call__(self, p):
        trace = sum(p.task.eigenvalues)
        noise = 0.1 * trace * float(torch.randn((), generator=p.rng("noise")))
        return {"trace": self.scale * trace + noise, "trace_error": 0.1 * trace}

    def on_quadratic(self, p, h):
        return {"trace": float(h.trace())}


@dataclass(frozen=True)
class Corner:
    """The first entry of the Hessian, said to be invariant."""

    symmetry: ClassVar[str] = "signed permutation"

    def on_quadratic(self, p, h):
        return {"corner": float(h[0, 0])}


@dataclass(frozen=True)
class Gambler:
    """Draws from the global generator."""

    def __call__(self, p):
        return float(torch.rand(()))


@dataclass(frozen=True)
class Vandal:
    """Writes into the weights."""

    def __call__(self, p):
        next(iter(p.w.values())).add_(1.0)
        return 0.0


def test_wrong_answers_are_found():
    p = point()
    for true in (Trace(), Noisy(), Trace(0.9, "lower"), Trace(1.1, "upper")):
        check_answers(true, p, p.task.hessian())
    for wrong, says in (
        (Trace(1.01), "trace"),
        (Noisy(1.05), "is biased"),
        (Trace(1.1, "lower"), "no lower bound"),
        (Trace(0.9, "upper"), "no upper bound"),
    ):
        with pytest.raises(AssertionError, match=says):
            check_answers(wrong, p, p.task.hessian())


def test_wrong_symmetries_are_found():
    with pytest.raises(AssertionError, match="declares only signed permutation"):
        check_symmetry(Trace())
    with pytest.raises(AssertionError, match="Corner changes by"):
        check_symmetry(Corner())


def test_vandalism_and_hidden_randomness_are_found():
    with pytest.raises(AssertionError, match="changes the point"):
        check_unchanged(Vandal)
    with pytest.raises(AssertionError, match="global generator"):
        check_unchanged(Gambler)
