"""A stream that says its objective has changed: the optimizer renews, the point knows, and what is told is recorded."""

from dataclasses import dataclass

import pytest
import torch

from adamantine.optim.lr import Lr
from adamantine.part import Part
from adamantine.role import Named
from adamantine.run import Row, Run


@dataclass(frozen=True)
class Moving:
    """`(w - c)^2 / 2` with a `c` that moves by one every `period` batches."""

    period: int = 3

    def init(self, rng):
        return {"w": torch.zeros(1)}

    def source(self, rng):
        return Drawn(self.period)

    def losses(self, w, batch):
        return 0.5 * (w["w"] - batch).square()

    def score(self, w):
        return {"held_out": 0.0}


class Drawn:
    def __init__(self, period):
        self.period, self.count = period, 0

    @property
    def renewals(self):
        return max(0, self.count - 1) // self.period

    @property
    def held_out(self):
        return torch.full((2,), 10.0 + self.renewals, dtype=torch.float64)

    def __call__(self, w):
        self.count += 1
        return torch.full((1,), float(self.renewals))

    def told(self):
        return {"count": self.count}

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, held):
        self.count = held["count"]


@dataclass(frozen=True)
class Counts(Part):
    """Passes the direction on, and counts renewals."""

    def init(self, w):
        return 0

    def update(self, u, s, p):
        return u, s

    def renew(self, s, p):
        assert float(p.batch) == p.renewals, "the point of a renewal has the new objective's batch"
        return s + 1


def renewed(p):
    return {"renewals": p.renewals, "renewed": p.s[0], "apart": float(p.held_out[0]), "kind": p.held_out.element_size()}


def test_every_change_of_the_objective_renews_the_state_once():
    rows = list(Run(Moving(), Counts() >> Lr(0.1), 10, every=1, probes=(renewed,)).events())
    seen = {n: [r.value for r in rows if isinstance(r, Row) and r.name == n] for n in ("renewals", "renewed", "apart")}
    assert seen["renewals"] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert seen["renewed"] == seen["renewals"]
    assert seen["apart"] == [10 + x for x in seen["renewals"]]
    assert {r.value for r in rows if isinstance(r, Row) and r.name == "kind"} == {4}, "placed as the weights are"
    assert [r.value for r in rows if isinstance(r, Row) and r.name == "count"] == [*range(1, 11)]


def test_names_choose_tensors():
    critic = Named("critic.*", "*.bias")
    assert critic("critic.head.weight", torch.zeros(1))
    assert critic("actor.head.bias", torch.zeros(1))
    assert not critic("actor.head.weight", torch.zeros(1))
    assert eval(repr(critic)) == critic
    with pytest.raises(ValueError, match="patterns"):
        Named()
