"""Changes of basis: exact inverses, the right law, and the same iterates as on the turned problem."""

from dataclasses import dataclass
from typing import get_args

import pytest
import torch

from adamantine import tree
from adamantine.nets.decoder import Decoder
from adamantine.nets.mlp import Mlp
from adamantine.nets.vit import Vit
from adamantine.optim.adam import adamw
from adamantine.optim.basis import InBasis, TaskIn
from adamantine.optim.eigenbasis import Eigenbasis, soap
from adamantine.optim.givens import Givens
from adamantine.optim.hadamard import Hadamard
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.partial_basis import Only
from adamantine.optim.residual_rotation import ResidualRotation
from adamantine.optim.rotations import BlockHaar, haar
from adamantine.optim.scope import Scope
from adamantine.optim.second_moment import Rms
from adamantine.optim.sgd import sgd
from adamantine.optim.singular_power import SingularPower
from adamantine.optim.svd_basis import SvdBasis
from adamantine.point import Point, stream
from adamantine.role import Is, bind
from adamantine.route import Route

SCOPES = get_args(Scope)


def weights(dtype=torch.float64):
    shapes = {"m": (7, 12), "k": (5, 3, 2, 2), "v": (11,), "one": (1,), "scalar": ()}
    return {k: torch.randn(s, generator=stream(0, k), dtype=dtype) for k, s in shapes.items()}


def close(a, b, tolerance=1e-12):
    return float(tree.norm(tree.add(a, b, -1.0))) < tolerance * (1 + float(tree.norm(b)))


BASES = [
    *(BlockHaar(s, b, seed) for s in SCOPES for b in (4, 256) for seed in (0, 3)),
    *(Hadamard(s, rounds=r, block=b) for s in SCOPES for r in (2, 3) for b in (4, 1024)),
    *(Givens(s, strength, seed=2) for s in SCOPES for strength in (0.2, 1.0)),
    Only(BlockHaar("layer"), ("m", "v*")),
    Only(Hadamard("all"), ("k", "m")),
]


@pytest.mark.parametrize("basis", BASES, ids=repr)
def test_back_undoes_forth_and_lengths_are_kept(basis):
    w = weights()
    z = basis.forth(w)
    assert {k: x.shape for k, x in z.items()} == {k: x.shape for k, x in w.items()}
    assert close(basis.back(z), w)
    assert close(basis.forth(basis.back(w)), w)
    assert float(tree.norm(z)) == pytest.approx(float(tree.norm(w)))
    assert not close(z, w, 1e-2)
    assert eval(repr(basis)) == basis


@pytest.mark.parametrize("basis", [BlockHaar("all"), Hadamard("all")], ids=repr)
def test_single_precision_is_exact_to_rounding(basis):
    w = {"w": torch.randn(10_000, generator=stream(0, "w"))}
    assert close(basis.back(basis.forth(w)), w, 1e-6)


def test_scopes_keep_apart_what_they_say():
    w = weights()
    for scope in ("layer", "row", "column"):
        z = BlockHaar(scope).forth(w)
        for k in w:
            assert float(z[k].norm()) == pytest.approx(float(w[k].norm()))
    rows = BlockHaar("row").forth(w)["m"]
    assert torch.allclose(rows @ rows.T, w["m"] @ w["m"].T)
    columns = BlockHaar("column").forth(w)["m"]
    assert torch.allclose(columns.T @ columns, w["m"].T @ w["m"])


def test_haar_has_haars_moments():
    d, n = 6, 4000
    q = torch.stack([haar(d, seed, torch.float64, torch.device("cpu")) for seed in range(n)])
    assert torch.allclose(q @ q.mT, torch.eye(d, dtype=torch.float64).expand(n, d, d), atol=1e-12)
    x = q[:, 0, 0]
    for power, exact in ((1, 0.0), (2, 1 / d), (4, 3 / (d * (d + 2)))):
        y = x**power
        assert abs(float(y.mean()) - exact) < 4 * float(y.std()) / n**0.5
    # QR without the sign correction would make the diagonal of one sign.
    assert 0.4 < float((q[:, 1, 1] > 0).double().mean()) < 0.6


def test_one_round_of_hadamard_is_refused_and_two_mix():
    with pytest.raises(ValueError, match="at least 2"):
        Hadamard("all", rounds=1)
    d, out = 256, []
    for seed in range(200):
        e = torch.zeros(d, dtype=torch.float64)
        e[seed] = 1.0
        out.append(Hadamard("all", seed=seed).forth({"w": e})["w"] * d**0.5)
    x = torch.stack(out)
    assert 2.3 < float((x**4).mean()) < 3.7, "a coordinate of a random direction is nearly Gaussian"


@dataclass(frozen=True)
class Surface:
    """Smooth and non-separable."""

    def init(self, rng):
        return {k: x for k, x in weights().items() if k != "scalar"}

    def source(self, rng):
        return lambda w: torch.randn(8, tree.size(w), generator=rng, dtype=torch.float64)

    def losses(self, w, batch):
        x = batch @ tree.flat(w)
        return torch.log(torch.cosh(x)) + 0.2 * x

    def score(self, w):
        return {"norm": float(tree.norm(w))}


def iterate(part, task, w, steps=25):
    s, draw = part.init(w), task.source(stream(0, "data"))
    for step in range(steps):
        p = Point(task, w, draw(w), step, steps)
        u, s = part.update(p.grad, s, p)
        w = tree.add(w, u, -1.0)
    return w


@pytest.mark.parametrize("basis", [BlockHaar("all", 16), BlockHaar("row"), Hadamard("layer")], ids=repr)
def test_a_part_in_a_basis_is_the_part_on_the_turned_task(basis):
    task = Surface()
    w = task.init(None)
    here = iterate(InBasis(adamw(0.01), basis), task, w)
    there = basis.back(iterate(adamw(0.01), TaskIn(task, basis, {}), basis.forth(w)))
    assert close(here, there, 1e-9)


@pytest.mark.parametrize("basis", [BlockHaar("all", 16), BlockHaar("column"), Hadamard("all")], ids=repr)
def test_sgd_does_not_see_the_basis_and_adam_does(basis):
    task = Surface()
    w = task.init(None)
    assert close(iterate(InBasis(sgd(0.01, 0.9), basis), task, w), iterate(sgd(0.01, 0.9), task, w), 1e-10)
    assert not close(iterate(InBasis(adamw(0.01), basis), task, w), iterate(adamw(0.01), task, w), 1e-4)


def test_the_turned_task_turns_curvature_too():
    task, basis = Surface(), BlockHaar("all", 16)
    w = task.init(None)
    batch = task.source(stream(0, "data"))(w)
    v = tree.each(torch.ones_like, w)
    p, q = Point(task, w, batch), Point(TaskIn(task, basis, {}), basis.forth(w), batch)
    assert close(basis.forth(p.hvp(v)), q.hvp(basis.forth(v)), 1e-10)
    assert TaskIn(task, basis, {}).score(basis.forth(w)) == pytest.approx(task.score(w))


def test_adams_first_step_in_the_singular_basis_is_the_polar_factor():
    g = {"m": torch.randn(6, 4, generator=stream(0, "g"), dtype=torch.float64)}
    part = SvdBasis(Ema(0.9) >> Rms(0.999, 1e-14))
    u, _ = part.update(g, part.init(g), Point(Surface(), g, None).given(g))
    a, _, b = torch.linalg.svd(g["m"], full_matrices=False)
    assert torch.allclose(u["m"], a @ b, atol=1e-9)


def test_soap_takes_no_leap_before_its_basis_is_whole():
    """What a direction divides by is of that direction, though it has got another column."""
    for dtype in (torch.float64, torch.float32):
        part, w = soap(1.0), {"m": torch.zeros(4, 24, dtype=dtype), "n": torch.zeros(24, 4, dtype=dtype)}
        s = part.init(w)
        for t in range(12):
            g = {k: torch.randn(x.shape, generator=stream(t, k)).to(dtype) for k, x in w.items()}
            u, s = part.update(g, s, Point(Surface(), w, None, t, 12).given(g))
            for x in u.values():
                assert x.abs().max() < 8
    with pytest.raises(ValueError, match=r"Eigenbasis: 'm' is torch.bfloat16, of too few bits"):
        part.init({"m": w["m"].bfloat16()})


def test_soap_against_its_algorithm_written_out():
    """Vyas et al., algorithm 3, for one matrix, refreshed at every step by eigh; two steps to a whole basis."""
    part = Ema(0.9) >> Eigenbasis(Rms(0.95, 1e-8), 0.95, every=1, method="eigh") >> Lr(0.1)
    w = {"m": torch.randn(4, 4, generator=stream(0, "w"), dtype=torch.float64)}
    s = part.init(w)
    left = right = torch.zeros(4, 4, dtype=torch.float64)
    m = torch.zeros(4, 4, dtype=torch.float64)
    ql = qr = None
    v = torch.zeros(4, 4, dtype=torch.float64)
    for t in range(1, 6):
        g = torch.randn(4, 4, generator=stream(t, "g"), dtype=torch.float64)
        u, s = part.update({"m": g}, s, Point(Surface(), w, None, t - 1, 5).given({"m": g}))
        left, right = 0.95 * left + 0.05 * g @ g.T, 0.95 * right + 0.05 * g.T @ g

        def basis(a, old):
            q = torch.linalg.eigh(a)[1].flip(1)
            return q if old is None else q * torch.where((q * old).sum(0) < 0, -1.0, 1.0)

        old = ql, qr
        ql, qr = basis(left, ql), basis(right, qr)
        if t == 2:
            v = (ql.T @ old[0]).square() @ v @ (old[1].T @ qr).square()
        m = 0.9 * m + 0.1 * g
        v = 0.95 * v + 0.05 * (ql.T @ g @ qr).square()
        n = (ql.T @ m @ qr) / (1 - 0.9**t) / ((v / (1 - 0.95**t)).sqrt() + 1e-8)
        assert torch.allclose(u["m"], 0.1 * ql @ n @ qr.T, atol=1e-9)
    assert "Eigenbasis" in repr(soap(1e-3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BlockHaar("neuron"), "scope"),
        (lambda: BlockHaar("all", 0), "block"),
        (lambda: Hadamard("all", block=3), "power of two"),
        (lambda: InBasis(Rms(), "haar"), "forth"),
        (lambda: SvdBasis(every=0), "every"),
    ],
)
def test_impossible_bases_are_refused_in_a_sentence(make, says):
    with pytest.raises((ValueError, TypeError), match=says):
        make()


def test_a_dialled_rotation_starts_at_none_and_grows():
    w = weights()
    assert close(Givens("layer", 0.0).forth(w), w)
    moved = [float(tree.norm(tree.add(Givens("layer", t).forth(w), w, -1.0))) for t in (0.01, 0.05, 0.2)]
    assert moved == sorted(moved)
    assert moved[0] < 0.05 * float(tree.norm(w))
    one = {"w": torch.zeros(1024, dtype=torch.float64)}
    one["w"][7] = 1.0
    spread = Givens("layer", 1.0, rounds=8).forth(one)["w"]
    assert 1 / float(spread.pow(4).sum()) > 100, "a coordinate is spread over many"


def test_a_partial_basis_leaves_the_others_alone():
    w, basis = weights(), Only(Hadamard("layer"), ("m", "v*"))
    z = basis.forth(w)
    assert {k for k in w if not torch.equal(z[k], w[k])} == {"m", "v"}
    assert torch.equal(z["m"], Hadamard("layer").forth(w)["m"])
    with pytest.raises(TypeError, match="must have forth, back and normalizes"):
        Only(3)
    with pytest.raises(ValueError, match="give a tuple of names"):
        Only(Hadamard("layer"), "m")


def test_forced_singular_values_keep_length_and_basis():
    u = {"m": torch.randn(6, 4, generator=stream(0, "u"), dtype=torch.float64), "v": torch.ones(3, dtype=torch.float64)}
    left, s, right = torch.linalg.svd(u["m"], full_matrices=False)
    p = Point(None, u, None)
    for power in (0.0, 0.3, 1.0):
        out = SingularPower(power).update(u, (), p)[0]
        assert torch.equal(out["v"], u["v"])
        wanted = (left * s**power) @ right
        assert torch.allclose(out["m"], wanted * u["m"].norm() / wanted.norm(), rtol=1e-9)
    zero = {"m": torch.zeros(3, 2)}
    assert torch.equal(SingularPower(0.0).update(zero, (), p)[0]["m"], zero["m"])


# --- a rotation that the network's function does not notice -----------------------------------------------------------


def perturbed(net):
    """Weights with biases in them, gains at one."""
    w = {k: x.double() for k, x in net.init(stream(0, "init")).items()}
    return {k: x if "norm" in k else x + 0.1 * torch.randn(x.shape, generator=stream(0, k)) for k, x in w.items()}


@pytest.mark.parametrize(
    "net",
    [
        Decoder(50, 8, 16, 2, norm="rms", bias=True, tied=False),
        Decoder(50, 8, 16, 2, norm="rms", placement="post"),
        Vit(norm="rms"),
    ],
    ids=repr,
)
def test_turning_the_residual_stream_keeps_the_function_and_turns_the_rest(net):
    x = torch.randn(4, 1, 16, 16, generator=stream(0, "x"), dtype=torch.float64)
    if isinstance(net, Decoder):
        x = torch.randint(50, (4, 8), generator=stream(0, "x"))
    w, basis = perturbed(net), ResidualRotation(3, net.tags())
    z = basis.forth(w)
    assert close(basis.back(z), w)
    assert torch.allclose(net(z, x), net(w, x), atol=1e-12)
    turned = {k for k in w if not torch.allclose(z[k], w[k])}
    kept = {k for k in w if "norm" in k or (k.endswith(".bias") and not k.endswith(("output.bias", "down.bias")))}
    assert turned == set(w) - kept
    other = ResidualRotation(4, net.tags()).forth(w)
    assert not close(other, z, 1e-2)


def test_layer_normalization_and_unequal_gains_notice_it():
    x = torch.randint(50, (4, 8), generator=stream(0, "x"))
    for norm, gain in (("layer", 1.0), ("rms", 0.5)):
        net = Decoder(50, 8, 16, 1, norm=norm)
        w = perturbed(net)
        w["norm"][0] = gain
        assert not torch.allclose(net(ResidualRotation(3, net.tags()).forth(w), x), net(w, x), atol=1e-3)


def test_a_turned_network_is_trained_as_the_network_in_turned_coordinates():
    """The intervention by its definition, other initial weights, beside the optimizer in another basis."""
    net = Decoder(50, 8, 16, 1, norm="rms")
    still, tags = Route(Is("norm"), Lr(0.0), adamw(1e-2)), net.tags()
    basis, part = ResidualRotation(3, tags), bind(still, tags)

    def train(part, w):
        s, draw = part.init(w), stream(0, "data")
        for step in range(8):
            tokens = torch.randint(50, (4, 9), generator=draw)
            p = Point(Tokens(net), w, tokens, step, 8, 0)
            u, s = part.update(p.grad, s, p)
            w = tree.add(w, u, -1.0)
        return w

    start = perturbed(net)
    turned, inside = train(part, basis.forth(start)), train(InBasis(part, basis), start)
    assert close(turned, basis.forth(inside), 1e-6)
    assert not close(inside, train(part, start), 1e-3)
    descent = bind(Route(Is("norm"), Lr(0.0), sgd(0.1, 0.9)), tags)
    assert close(basis.back(train(descent, basis.forth(start))), train(descent, start), 1e-9)


@dataclass(frozen=True)
class Tokens:
    """Next tokens at random."""

    net: Decoder

    def losses(self, w, batch):
        logits = self.net(w, batch[:, :-1])
        return torch.nn.functional.cross_entropy(logits.mT, batch[:, 1:], reduction="none").mean(1)


def test_a_network_without_a_residual_stream_is_refused():
    net = Mlp()
    with pytest.raises(ValueError, match="does not say how it meets the residual"):
        ResidualRotation(0, net.tags()).forth(net.init(stream(0, "init")))
    with pytest.raises(ValueError, match="which tensor has which role is not known"):
        ResidualRotation().forth(weights())
