"""Updates, momenta and second moments beside weights and gradients: closed forms, and no bias where noise is known."""

import math

import pytest
import torch

from adamantine import tree
from adamantine.point import Point, stream
from adamantine.probes.update_ratio import UpdateRatio


class Still:
    """A loss without interest."""

    def losses(self, w, batch):
        return tree.flat(w).double().square().sum()[None] / 2


def moved(w, u, s=None, optimizer=None):
    return Point(Still(), w, None).after(u, s, optimizer)


# --- update over weights --------------------------------------------------------------------------------------


def test_ratio_and_angle_of_known_triangles():
    w = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([0.0, 4.0, 0.0]), "zero": torch.zeros(2)}
    u = {"a": torch.tensor([[0.0, -3.0]]), "b": torch.tensor([0.0, 6.0, 0.0]), "zero": torch.ones(2)}
    found = UpdateRatio()(moved(w, u))
    assert found["update_ratio/a"] == pytest.approx(1.0)
    assert found["angle/a"] == pytest.approx(math.pi / 4)
    assert found["update_ratio/b"] == pytest.approx(1.5)
    assert found["angle/b"] == pytest.approx(math.pi), "a step beyond zero turns the tensor round"
    assert math.isnan(found["update_ratio/zero"])
    assert math.isnan(found["angle/zero"])
    assert found["update_ratio"] == pytest.approx(math.sqrt(47) / 5)
    assert found["angle"] == pytest.approx(math.acos((9 - 8) / (5 * math.sqrt(9 + 9 + 4 + 2))), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_small_angles_are_not_lost_in_rounding(dtype):
    """A cosine in single precision cannot tell an angle of 1e-5 from zero."""
    rng = stream(0, "angle")
    w = torch.randn(300, 200, generator=rng).to(dtype)
    u = torch.randn(300, 200, generator=rng) * 1e-5
    a, b = w.double().flatten(), u.double().flatten()
    exact = (b - a * (a @ b) / (a @ a)).norm() / (a.norm() - (a @ b) / a.norm())
    found = UpdateRatio()(moved({"w": w}, {"w": u}))
    assert found["angle"] == pytest.approx(float(exact.arctan()), rel=1e-5)
    assert found["update_ratio"] == pytest.approx(float(b.norm() / a.norm()), rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_rotational_equilibrium(beta):
    """Gradient descent with decay on weights of no scale, with gradients that are noise: the closed form."""
    rate, decay, rng = 0.05, 0.02, stream(0, "equilibrium")
    w, m, angles = torch.randn(400, generator=rng, dtype=torch.float64), 0.0, []
    w *= (rate * 400 / (2 * decay)) ** 0.25 * (1 - beta) ** -0.25 / w.norm()
    for step in range(3000):
        g = torch.randn(400, generator=rng, dtype=torch.float64)
        size = w.norm()
        m = beta * m + (g - w * (w @ g) / size**2) / size + decay * w
        u = rate * m
        if step > 1500:
            angles.append(UpdateRatio()(moved({"w": w}, {"w": u}))["angle"])
        w = w - u
    expected = math.sqrt(2 * rate * decay / (1 + beta))
    assert torch.tensor(angles).square().mean().sqrt() == pytest.approx(expected, rel=0.03)


def test_ratio_needs_an_update():
    with pytest.raises(ValueError, match="UpdateRatio: the point has no update; measure it in a Run"):
        UpdateRatio()(Point(Still(), {"w": torch.ones(2)}, None))
