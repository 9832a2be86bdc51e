"""Every part, found by walking the package: pure, deterministic, printable, its state and its symmetry as declared."""

import dataclasses
import inspect
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import pytest
import torch
from walk import names, public

from adamantine import tree
from adamantine.optim.basis import InBasis
from adamantine.optim.decay import Decay
from adamantine.optim.eigenbasis import Eigenbasis
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.schedule import Constant
from adamantine.optim.second_moment import Rms
from adamantine.optim.steepest import Steepest
from adamantine.optim.svd_basis import SvdBasis
from adamantine.optim.torch_step import TorchStep
from adamantine.part import Chain, Part
from adamantine.point import Point, stream
from adamantine.role import Is, Tag, Tags, bind
from adamantine.route import Route
from adamantine.symmetry import GROUPS, holds
from adamantine.until import Until

NAMES = names()


def is_matrix(name, x):
    return x.ndim >= 2


NAMES["is_matrix"] = is_matrix
ROLE = {"a": "up", "b": "bias", "c": "query", "m": "down", "v": "bias", "four": "convolution", "e": "head"}
TAGS = Tags(tuple((k, Tag(role)) for k, role in ROLE.items()))


def built(kind):
    """An instance from defaults; fields without one get what their annotation asks for."""
    given = {}
    for f in dataclasses.fields(kind):
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            wants = f.type if isinstance(f.type, str) else getattr(f.type, "__name__", str(f.type))
            given[f.name] = {"float": 0.1, "int": 2, "Part": Ema(0.9) >> Rms(0.99)}.get(wants, 0.1)
    return kind(**given)


def on_surfaces(part):
    """The part, told the roles of the tensors it will meet here."""
    return bind(part, TAGS)


def recipe_functions():
    def returns_part(x):
        made = inspect.isfunction(x) and inspect.signature(x).return_annotation
        return inspect.isclass(made) and issubclass(made, Part)

    return public("adamantine.optim", returns_part)


def usual_rate(f):
    """0.01, unless the recipe says which rate it is made for."""
    default = inspect.signature(f).parameters["lr"].default
    return 0.01 if default is inspect.Parameter.empty else default


def recipes():
    return [on_surfaces(f(lr=usual_rate(f))) for f in recipe_functions()]


def kinds():
    return public("adamantine.optim", lambda x: inspect.isclass(x) and issubclass(x, Part))


@cache
def instances():
    singles = [on_surfaces(built(k)) for k in kinds() if not k.inherits]
    # What goes on from another's state is tried behind another.
    heirs = [Until(0.25, Rms(0.9), on_surfaces(built(k))) for k in kinds() if k.inherits]
    # Wrappers say less than what they wrap: try each over a part of every symmetry.
    wrapped = [
        dataclasses.replace(x, inner=inner)
        for x in singles
        if hasattr(x, "inner")
        for inner in (Rms(0.9, shape="all"), Rms(0.9, shape="row"), Rms(0.9), Decay(0.1))
    ]
    turned = [
        InBasis(Rms(0.9, shape=shape), BlockHaar(scope))
        for shape, scope in (("tensor", "layer"), ("row", "row"), ("column", "row"), ("full", "all"))
    ]
    composed = [
        Route(is_matrix, Ema(0.9) >> Rms(0.9), Rms(0.9, shape="tensor")),
        Route(Is("up", "bias", tags=TAGS), Ema(0.9) >> Rms(0.9, shape="all"), Rms(0.9)),
        Until(0.5, Ema(0.9), Rms(0.9)),
        Until(0.4, Rms(0.9, shape="all"), Rms(0.9, shape="row")),
        Until(0.25, Ema(0.9) >> Rms(0.9), Until(0.5, Ema(0.9) >> Rms(0.9, shape="row"), Momentum(0.9), carry=False)),
        Eigenbasis(Ema(0.9) >> Rms(0.9), every=2, reproject=True),
        SvdBasis(Ema(0.9) >> Rms(0.9), every=2, reproject=True),
        Chain(),
        *(Steepest(norm) for norm in ("maximum", "blocks", "spectral")),
    ]
    return [*singles, *heirs, *wrapped, *turned, *composed, *recipes()]


def label(part):
    return f"{type(part).__name__}-{part!r}"[:90]


@dataclass(frozen=True)
class Surface:
    """A smooth function with no symmetry of its own: sum of log cosh of random directions, plus a linear term."""

    matrix: tuple[int, int] = (4, 3)
    vector: int = 5
    transform: object = None
    splits = True

    def shapes(self):
        return {"a": self.matrix, "b": (self.vector,), "c": (3, 3), "e": (3, 2)}

    def init(self, rng):
        return {k: torch.randn(s, generator=rng, dtype=torch.float64) for k, s in self.shapes().items()}

    def source(self, rng):
        return lambda w: torch.randn(6, tree.size(w), generator=rng, dtype=torch.float64)

    def activations(self, w, batch):
        """No hidden units."""
        return {}

    def losses(self, w, batch):
        if self.transform is not None:
            w = self.transform.back(w)
        x = batch @ tree.flat(w)
        return torch.log(torch.cosh(x)) + 0.3 * x

    def score(self, w):
        return {}


def random_orthogonal(n, rng):
    q, r = torch.linalg.qr(torch.randn(n, n, generator=rng, dtype=torch.float64))
    return q * r.diagonal().sign()


def random_signed_permutation(n, rng):
    q = torch.zeros(n, n, dtype=torch.float64)
    q[torch.arange(n), torch.randperm(n, generator=rng)] = 2.0 * torch.randint(2, (n,), generator=rng).double() - 1
    return q


class Turn:
    """A random element of a named group as a matrix on each of its blocks."""

    def __init__(self, group, w, seed):
        self.group, self.w = group, w
        rng = stream(seed, f"turn/{group}")
        one = random_signed_permutation if "permutation" in group else random_orthogonal
        if group in ("rotation", "signed permutation"):
            self.q = one(tree.size(w), rng)
        elif group.startswith("layer"):
            self.q = {k: one(x.numel(), rng) for k, x in w.items()}
        elif group in ("row rotation", "column rotation"):
            side = (lambda x: x.shape) if group == "row rotation" else (lambda x: x.shape[::-1])
            self.q = {
                k: torch.stack([one(side(x)[1], rng) for _ in range(side(x)[0])]) if x.ndim > 1 else one(len(x), rng)
                for k, x in w.items()
            }
        else:  # left-right: nothing happens to vectors
            self.q = {k: (one(x.shape[0], rng), one(x.shape[1], rng)) for k, x in w.items() if x.ndim > 1}

    def forth(self, a):
        return self._turned(a, False)

    def back(self, a):
        return self._turned(a, True)

    def _turned(self, a, back):
        def matrix(q):
            return q.mT if back else q

        if not isinstance(self.q, dict):
            return tree.like(matrix(self.q) @ tree.flat(a), a)
        out = {}
        for k, x in a.items():
            if self.group == "left-right rotation":
                left, right = self.q.get(k, (None, None))
                out[k] = x if left is None else matrix(left) @ x @ matrix(right).mT
            elif self.group.startswith("layer") or x.ndim < 2:
                out[k] = (matrix(self.q[k]) @ x.reshape(-1)).reshape(x.shape)
            elif self.group == "row rotation":
                out[k] = torch.einsum("rij,rj->ri", matrix(self.q[k]), x)
            else:
                out[k] = torch.einsum("cij,jc->ic", matrix(self.q[k]), x)
        return out


def trajectory(part, task, w, steps=6, size=0.05):
    s, draw = part.init(w), task.source(stream(0, "data"))
    for step in range(steps):
        p = Point(task, w, draw(w), step, steps)
        u, s = part.update(p.grad, s, p)
        w = tree.add(w, u, -size)
    return w


def asymmetry(part, group, seed=0):
    """Relative distance between the turned trajectory and the trajectory of the turned problem."""
    plain = Surface()
    w = plain.init(stream(seed, "init"))
    turn = Turn(group, w, seed)
    there = trajectory(part, Surface(transform=turn), turn.forth(w))
    here = turn.forth(trajectory(part, plain, w))
    return float(tree.norm(tree.add(there, here, -1.0)) / tree.norm(tree.add(here, turn.forth(w), -1.0)))


def check_symmetry(part):
    if part.symmetry == "unknown":
        assert type(part) is TorchStep, f"{part!r} must say what it commutes with; it is no foreign code"
        return
    held = holds(part.symmetry)
    for group in GROUPS:
        found = max(asymmetry(part, group, seed) for seed in range(2))
        if group in held:
            assert found < 1e-6, f"{part!r} does not commute with {group}: {found:.1e}, but declares {part.symmetry}"
        else:
            assert found > 1e-4, f"{part!r} commutes with {group} ({found:.1e}) but declares only {part.symmetry}"


def copied(x):
    if isinstance(x, torch.Tensor):
        return x.clone()
    if isinstance(x, dict):
        return {k: copied(y) for k, y in x.items()}
    return type(x)(copied(y) for y in x) if isinstance(x, (tuple, list)) else x


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def is_data(x):
    if isinstance(x, dict):
        return all(isinstance(k, str) and is_data(y) for k, y in x.items())
    if isinstance(x, (tuple, list)):
        return all(map(is_data, x))
    return isinstance(x, (torch.Tensor, int, float, str, bool)) or x is None


def check_pure(part):
    task = Surface()
    w = task.init(stream(0, "init"))
    s, draw = part.init(w), task.source(stream(0, "data"))
    for step in range(4):
        p = Point(task, w, draw(w), step, 4)
        before = copied(p.grad), copied(w), copied(s)
        u, s2 = part.update(p.grad, s, p)
        assert same((p.grad, w, s), before), f"{part!r} changes its input in place"
        again, s3 = part.update(p.grad, s, p)
        assert same(u, again), f"{part!r} is not deterministic"
        assert same(s2, s3), f"the state of {part!r} is not deterministic"
        assert list(u) == list(w)
        assert all(torch.isfinite(x).all() and x.shape == w[k].shape for k, x in u.items())
        assert is_data(s2), f"the state of {part!r} is not data"
        s, w = s2, tree.add(w, u, -0.01)
    return w, s


def check_bytes(part):
    w, s = check_pure(part)
    kept = sum(x.numel() * x.element_size() for _, x in tree.leaves(s))
    assert kept <= part.state_bytes(w), f"{part!r} keeps {kept} bytes and declares {part.state_bytes(w)}"
    start = sum(x.numel() * x.element_size() for _, x in tree.leaves(part.init(w)))
    assert max(start, kept) == part.state_bytes(w) or isinstance(part, Until)


@pytest.mark.parametrize("part", instances(), ids=label)
def test_is_a_value(part):
    assert eval(repr(part), dict(NAMES)) == part
    assert hash(part) == hash(eval(repr(part), dict(NAMES)))
    assert part.__dataclass_params__.frozen


@pytest.mark.parametrize("part", instances(), ids=label)
def test_is_pure_and_deterministic(part):
    check_pure(part)


@pytest.mark.parametrize("part", instances(), ids=label)
def test_keeps_the_bytes_it_declares(part):
    check_bytes(part)


@pytest.mark.parametrize("part", instances(), ids=label)
def test_is_local_where_it_says_so(part):
    if part.symmetry == "unknown":
        pytest.skip("foreign code: not taken to be local, though it may be")
    w = Surface().init(stream(0, "init"))
    size = 0.5  # steps long enough for an estimate of the distance to grow
    whole, alone = trajectory(part, Surface(), w, size=size), dict(w)
    for name in w:
        s, draw, w_all = part.init({name: w[name]}), Surface().source(stream(0, "data")), dict(w)
        # What the other tensors do is taken from the whole run, so that the gradients are the same.
        s_all = part.init(w)
        for step in range(6):
            p = Point(Surface(), w_all, draw(w_all), step, 6)
            u_all, s_all = part.update(p.grad, s_all, p)
            one = Point(Surface(), {name: alone[name]}, None, step, 6).given({name: p.grad[name]})
            try:
                u, s = part.update(one.grad, s, one)
            except (KeyError, ValueError, TypeError):
                assert not part.local, f"{part!r} asks for other tensors, but declares itself local"
                return
            alone[name] = alone[name] - size * u[name]
            w_all = tree.add(w_all, u_all, -size)
    apart = max(float((alone[k] - whole[k]).abs().max()) for k in w)
    assert (apart < 1e-12) == part.local, f"{part!r} declares local = {part.local}, but is {apart:.1e} apart alone"


@pytest.mark.parametrize("part", instances(), ids=label)
def test_commutes_with_what_it_declares_and_nothing_more(part):
    check_symmetry(part)


@pytest.mark.parametrize("part", instances(), ids=label)
def test_zero_gradients_give_finite_updates(part):
    w = Surface().init(stream(0, "init"))
    p = Point(Surface(), w, Surface().source(stream(0, "data"))(w)).given(
        {k: torch.zeros_like(x) for k, x in w.items()}
    )
    u, _ = part.update(p.grad, part.init(w), p)
    assert all(torch.isfinite(x).all() for x in u.values())


@pytest.mark.parametrize("part", recipes(), ids=label)
def test_whole_optimizers_descend(part):
    @dataclass(frozen=True)
    class Bowl:
        def losses(self, w, batch):
            return sum((x.square() * torch.linspace(0.5, 2, x.numel()).view_as(x)).sum() for x in w.values()) + batch

    w = {"m": torch.randn(6, 4, generator=stream(0, "m")), "v": torch.randn(5, generator=stream(0, "v"))}
    w["four"] = torch.randn(3, 2, 2, 2, generator=stream(0, "four"))
    s, losses = part.init(w), []
    for step in range(150):
        p = Point(Bowl(), w, torch.zeros(1), step, 150)
        u, s = part.update(p.grad, s, p)
        losses.append(float(p.loss))
        w = tree.add(w, u, -1.0)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", kinds(), ids=lambda k: k.__name__)
def test_says_where_it_comes_from(kind):
    assert inspect.getdoc(kind)
    assert "symmetry" in vars(kind), f"{kind.__name__} must declare its symmetry"


# --- the suite bites ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Boastful(Part):
    """Sign, declared rotation-equivariant."""

    symmetry: ClassVar[str] = "rotation"

    def update(self, u, s, p):
        return tree.each(torch.sign, u), s


@dataclass(frozen=True)
class Shy(Part):
    """Scaling, declared to have no symmetry."""

    symmetry: ClassVar[str] = "none"

    def update(self, u, s, p):
        return tree.each(lambda x: 2 * x, u), s


@dataclass(frozen=True)
class Hasty(Part):
    """Changes its input."""

    def update(self, u, s, p):
        return tree.each(lambda x: x.mul_(2), u), s


@dataclass(frozen=True)
class Hoarder(Part):
    """Keeps more than it says."""

    def init(self, w):
        return dict(w)

    def update(self, u, s, p):
        return u, s


def test_a_wrong_symmetry_is_found():
    with pytest.raises(AssertionError, match="does not commute"):
        check_symmetry(Boastful())
    with pytest.raises(AssertionError, match="declares only none"):
        check_symmetry(Shy())


def test_impurity_and_hidden_state_are_found():
    with pytest.raises(AssertionError, match="in place"):
        check_pure(Hasty())
    with pytest.raises(AssertionError, match="keeps"):
        check_bytes(Hoarder())


def test_a_schedule_is_data():
    assert eval(repr(Lr(0.1, Constant())), dict(NAMES)) == Lr(0.1)
