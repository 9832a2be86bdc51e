"""Scores of assumptions on interventions, and the arms of a turned network."""

import math

import numpy as np
import pytest

from adamantine import stats, tree
from adamantine.claims import interventions
from adamantine.explaining import network_turned
from adamantine.explaining.intervention import LARGE, Intervention, change, ratio
from adamantine.point import Point, stream
from adamantine.role import bind
from adamantine.stats import Effect


def made(observed, said, equal=False):
    return Intervention("kind", "task", "It is slower", stats.mean(observed), {"X": said}, ("key",), equal)


def test_a_direction_counts_where_intervals_show_it_of_both():
    slower, faster, either = [0.5, 0.6, 0.7], [-0.5, -0.6, -0.7], [-1.0, 1.0, 0.5]
    assert made(slower, slower).score("X") == 1
    assert made(slower, faster).score("X") == -1
    assert made(faster, faster).score("X") == 1
    assert made(slower, either).score("X") == 0
    assert made(slower, [0.0, 0.0, 0.0]).score("X") == 0, "a constant that stays says nothing"
    assert made(slower, [1e-9, 1.1e-9, 1e-9]).score("X") == 0, "nor does rounding, however alike its draws"
    assert math.isnan(made(either, slower).score("X")), "where nothing happened, nothing is asked"
    assert math.isnan(made(slower, [math.nan, 1.0]).score("X"))
    assert math.isnan(made(slower, slower).score("Y"))
    assert made(either, [1.0, 1.0, 0.0, 0.0], equal=True).score("X") == 0
    assert made(either, [1.0, 1.0], equal=True).score("X") == 1


def test_ratios_are_signed_by_what_theory_says_and_know_infinity():
    a, b = np.array([2.0, math.inf, math.inf, 0.0, 1.0]), np.array([1.0, math.inf, 1.0, 0.0, 2.0])
    expected = np.array([math.log(2), 0.0, LARGE, 0.0, -math.log(2)])
    assert np.allclose(ratio(a, b, "slower"), expected)
    assert np.allclose(ratio(a, b, "faster"), -expected)
    assert change({"X": [3.0, 1.0]}, {"X": [1.0, 2.0]}) == {"X": [2.0, -1.0]}


def test_an_assumption_is_judged_by_kinds_and_not_by_tasks():
    all_ = [
        Intervention(kind, f"task {i}", "s", Effect(1.0, 0.5, 1.5, 3), {"OneStepGain": [sign] * 3}, ("k",))
        for kind, sign, times in (("a", 1.0, 5), ("b", -1.0, 1), ("c", 1.0, 1))
        for i in range(times)
    ]
    by = interventions.scores(all_)
    assert by["OneStepGain"] == {"a": 1.0, "b": -1.0, "c": 1.0}
    e = interventions.judged(by)["OneStepGain"]
    assert e.value == pytest.approx(1 / 3)
    assert -1 <= e.low <= e.value <= e.high <= 1
    assert "Smoothness" not in interventions.judged(by)


def test_arms_differ_from_the_switch_on_and_gains_stand_still():
    c = network_turned.comparison("tiny")
    tags = c.task.tags()

    def ends(name, stop):
        part = bind(c.arm(name).make(1e-2, 0), tags)
        w, draw = c.task.init(stream(0, "init")), c.task.source(stream(0, "data"))
        s = part.init(w)
        for step in range(stop):
            p = Point(c.task, w, draw(w), step, c.steps, 0)
            u, s = part.update(p.grad, s, p)
            w = tree.add(w, u, -1.0)
        return w

    def apart(a, b):
        return float(tree.norm(tree.add(a, b, -1.0)) / tree.norm(a))

    before = int(network_turned.SWITCH * c.steps)
    plain, turned = ends(network_turned.AFRESH, before), ends(network_turned.TURNED, before)
    assert apart(plain, turned) == 0
    assert apart(ends(network_turned.AFRESH, c.steps), ends(network_turned.TURNED, c.steps)) > 1e-2
    assert all((x == 1).all() for k, x in ends(network_turned.TURNED, c.steps).items() if "norm" in k)
    sgd = [ends(k, c.steps) for k in (network_turned.DESCENT, network_turned.DESCENT_TURNED)]
    assert apart(*sgd) < 1e-5
