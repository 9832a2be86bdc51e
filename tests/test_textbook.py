"""Every recipe follows, in float64, the loop written from its paper in `tests/textbook/`; none may lack one."""

import importlib
import inspect
import pkgutil

import pytest
import textbook
import torch
from problem import TAGS, Problem
from test_contract_parts import recipe_functions, usual_rate

from adamantine import tree
from adamantine.point import Point
from adamantine.role import bind

STEPS = 60
PAGES = [importlib.import_module(f"textbook.{m.name}") for m in pkgutil.iter_modules(textbook.__path__)]
LOOPS = {
    name: f
    for page in PAGES
    for name, f in vars(page).items()
    if inspect.isfunction(f) and f.__module__ == page.__name__ and name[0] != "_"
}
CASES = {name: cases for page in PAGES for name, cases in getattr(page, "CASES", {}).items()}
RECIPES = {f.__name__: f for f in recipe_functions()}


def ours(part, steps=STEPS):
    """The weights to evaluate after `steps`."""
    problem = Problem()
    part = bind(part, TAGS)
    w = problem.start()
    s = part.init(w)
    for step in range(steps):
        p = Point(problem, w, problem.batch(step), step, steps)
        u, s = part.update(p.grad, s, p)
        w = tree.add(w, u, -1.0)
    return part.read(w, s)


def apart(a, b):
    """The largest distance of a tensor of `a` from `b`, relative to the distance it moved."""
    start = Problem().start()
    return max(float((a[k] - b[k]).norm() / (b[k] - start[k]).norm().clamp_min(1e-30)) for k in start)


def cases():
    for name in RECIPES:
        own = [case for case in CASES.get(name, []) if case]
        # A case of rate and tolerance alone stands for the defaults.
        for case in [*([] if any(set(case) <= {"lr", "tol"} for case in own) else [{}]), *own]:
            yield pytest.param(name, case, id=f"{name}-{case}" if case else name)


@pytest.mark.parametrize(("name", "case"), list(cases()))
def test_follows_its_paper(name, case):
    assert name in LOOPS, f"recipe {name} has no loop in tests/textbook; write it from the paper"
    given = dict(case)
    lr, tolerance = given.pop("lr", usual_rate(RECIPES[name])), given.pop("tol", 1e-9)
    theirs = LOOPS[name](Problem(), Problem().start(), STEPS, lr, **given)
    mine = ours(RECIPES[name](lr, **given))
    assert all(torch.isfinite(x).all() for x in theirs.values())
    assert apart(mine, theirs) < tolerance


@pytest.mark.parametrize("name", sorted(set(LOOPS) & set(RECIPES)))
def test_the_comparison_can_fail(name):
    lr = usual_rate(RECIPES[name])
    theirs = LOOPS[name](Problem(), Problem().start(), STEPS, lr)
    assert apart(ours(RECIPES[name](1.01 * lr)), theirs) > 1e-5


def test_every_loop_belongs_to_a_recipe():
    assert set(LOOPS) <= set(RECIPES)
