"""The predicted spread of a rotated second moment, against simulation with a known covariance."""

import pytest
import torch

from adamantine import tree
from adamantine.optim.momentum import Ema
from adamantine.optim.rotations import haar
from adamantine.optim.second_moment import Rms
from adamantine.point import Point, stream
from adamantine.probes.flatness import MomentFlatness

D = 24
DEVICE = torch.device("cpu")


def spread(spectrum, beta=1.0):
    """The closed form under a Haar rotation for Gaussian gradients, `E|g|^4 = (tr C)^2 + 2 |C|_F^2`, and endless steps.

    With a memory of `beta` a share of the pairs of gradients in the average are equal; with 1 it is the whole of `C`.
    """
    share, inverse_rank = (1 - beta) / (1 + beta), spectrum.square().sum() / spectrum.sum() ** 2
    relative = share * (1 + 2 * inverse_rank) + (1 - share) * inverse_rank
    return float((2 * D * relative - 2) / (D + 2))


def measured(seed, spectrum, every, beta, steps, shape=(4, 6)):
    """Both variances, averaged over the second half of a run on gradients of the given covariance, rotated."""
    q, rng = haar(D, seed, torch.float64, DEVICE), stream(seed, "gradients")
    probe, part = MomentFlatness((1, 1), "all", beta), Ema(0.9) >> Rms(beta)
    w = {"m": torch.zeros(shape, dtype=torch.float64)}
    s, notes, found = part.init(w), {}, []
    for step in range(steps):
        g = q @ (spectrum.sqrt() * torch.randn(D, generator=rng, dtype=torch.float64))
        p = Point(None, w, None, step, steps, notes=notes).given({"m": g.reshape(shape)})
        u, s = part.update(p.grad, s, p)
        if step % every == 0:
            found.append(probe(p.after(u, s)))
    late = found[len(found) // 2 :]
    return [sum(f[k] for f in late) / len(late) for k in ("variance", "predicted_variance")]


@pytest.mark.parametrize(("every", "beta", "steps"), [(1, 0.95, 120), (5, 0.98, 250)])
def test_the_prediction_is_what_a_rotation_does(every, beta, steps):
    """Averaged over rotations, measured, predicted and closed form agree, whether all steps are seen or one in five."""
    spectrum = torch.tensor([1 / i for i in range(1, D + 1)], dtype=torch.float64)
    found = [measured(seed, spectrum, every, beta, steps) for seed in range(50)]
    now, predicted = torch.tensor(found, dtype=torch.float64).T
    for gap in (now - predicted, now - spread(spectrum, beta), predicted - spread(spectrum, beta)):
        assert abs(float(gap.mean())) < 4 * float(gap.std()) / len(gap) ** 0.5
    assert float(now.mean()) > spread(spectrum), "the average is over few gradients, which spreads it further"


def test_with_endless_memory_it_is_the_closed_form():
    spectrum = torch.tensor([1 / i for i in range(1, D + 1)], dtype=torch.float64)
    total = torch.zeros(200)
    for seed in range(200):
        q = haar(D, seed, torch.float64, DEVICE)
        v = ((q * spectrum) @ q.T).diagonal()
        total[seed] = v.var(correction=0) / v.mean() ** 2
    assert abs(float(total.mean()) - spread(spectrum)) < 4 * float(total.std()) / 200**0.5
    assert spread(torch.ones(D)) == pytest.approx(0), "equal eigenvalues: nothing to spread"


def test_blocks_are_what_the_scope_says():
    v = {"m": torch.tensor([[1.0, 1.0, 4.0, 4.0]] * 8).T.contiguous(), "b": torch.ones(8)}
    state = ((0, v), (0, v))

    def variance(scope):
        p = Point(None, v, None).given(v).after(v, state)
        return MomentFlatness((1, 1), scope)(p)["variance"]

    assert variance("row") == 0, "each row is constant"
    whole = tree.flat({"m": v["m"]})
    assert variance("layer") == pytest.approx(float(whole.var(correction=0) / whole.mean() ** 2) * 32 / 40)
    everything = tree.flat(v)
    assert variance("all") == pytest.approx(float(everything.var(correction=0) / everything.mean() ** 2))


def test_a_path_that_leads_nowhere_is_a_sentence():
    w = {"a": torch.ones(3)}
    with pytest.raises(ValueError, match="does not lead to a tensor a parameter"):
        MomentFlatness((5,))(Point(None, w, None).given(w).after(w, ((0, w),)))
