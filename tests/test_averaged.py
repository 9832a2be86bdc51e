"""Parts that read other weights than they step: averages against torch's, and rates replaced in the middle."""

import dataclasses

import pytest
import torch
from problem import Problem

from adamantine import tree
from adamantine.optim.averaged import Averaged
from adamantine.optim.lookahead import Lookahead
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Momentum
from adamantine.optim.prodigy import Prodigy
from adamantine.optim.rate import rate
from adamantine.optim.schedule import Warmup
from adamantine.optim.schedule_free import ScheduleFree, schedule_free_sgd
from adamantine.point import Point
from adamantine.role import Is
from adamantine.route import Route

STEPS, PROBLEM = 20, Problem()
SGD = Momentum(0.9) >> Lr(0.1)


def path(part, changed=lambda part, t: part):
    """All weights stepped through, and what is read at the end."""
    w = PROBLEM.start()
    s, seen = part.init(w), [w]
    for t in range(STEPS):
        p = Point(PROBLEM, w, PROBLEM.batch(t), t, STEPS)
        u, s = changed(part, t).update(p.grad, s, p)
        w = tree.add(w, u, -1.0)
        seen.append(w)
    return seen, part.read(w, s)


def apart(a, b):
    return max(float((a[k] - b[k]).abs().max()) for k in a)


def test_an_exponential_average_is_that_of_swa_utils():
    seen, read = path(Averaged(SGD, 0.9))
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    held = [x.clone() for x in seen[0].values()]
    for w in seen[1:]:
        average(held, list(w.values()), None)
    assert apart(read, dict(zip(read, held, strict=True))) < 1e-14
    assert apart(seen[-1], path(SGD)[0][-1]) == 0


def test_a_tail_average_is_the_mean_of_the_tail():
    seen, read = path(Averaged(SGD, None, 0.5))
    assert apart(read, {k: torch.stack([w[k] for w in seen[11:]]).mean(0) for k in read}) < 1e-14


def test_an_average_reads_what_is_inside_it():
    inner = schedule_free_sgd(0.1)
    assert apart(path(Averaged(inner, 0.0))[1], path(inner)[1]) < 1e-14


def test_a_rate_replaced_from_outside_weighs_as_a_schedule_does():
    scheduled = schedule_free_sgd(0.1, schedule=Warmup(8))

    def changed(part, t):
        return dataclasses.replace(part, inner=Lr(0.1 * Warmup(8)(t, STEPS)))

    assert apart(path(ScheduleFree(Lr(0.1)), changed)[1], path(scheduled)[1]) < 1e-14


def test_the_rate_is_the_product_along_and_the_largest_across():
    p = Point(PROBLEM, PROBLEM.start(), None, 3, 10)
    assert rate(Momentum() >> Lr(0.5) >> Lr(0.2, Warmup(8)), p) == pytest.approx(0.05)
    assert rate(Route(Is("head"), Lr(0.1), ScheduleFree(Lr(0.3))), p) == 0.3
    assert rate(Momentum(), p) == 1.0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ScheduleFree(Lr(0.1), 0.0), r"beta = 0.0 must lie in \(0, 1\)"),
        (lambda: Lookahead(Lr(0.1), alpha=0.0), r"alpha = 0.0 must lie in \(0, 1\]"),
        (lambda: Prodigy(growth=1.0), "growth = 1.0 must exceed 1"),
        (lambda: Averaged(Lr(0.1), 1.0), r"beta = 1.0 must lie in \[0, 1\)"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
