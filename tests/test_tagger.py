"""Roles of tensors: the package's own tasks, and any module, told from its structure or not at all."""

from dataclasses import dataclass

import pytest
from test_contract_tasks import tasks

from adamantine.optim.sgd import sgd
from adamantine.part import Route
from adamantine.point import stream
from adamantine.role import Is, Tag, Tags, asks, bind
from adamantine.run import Row, Run
from adamantine.tasks.quadratic import Quadratic


@pytest.mark.parametrize("task", tasks(), ids=lambda t: f"{type(t).__name__}-{t!r}"[:70])
def test_tags_of_every_task_cover_its_parameters(task):
    tags, w = task.tags(), task.init(stream(0, "init"))
    assert [k for k, _ in tags.pairs] == list(w)
    assert not tags.unknown


def test_a_run_gives_the_optimizer_the_tables_of_its_task():
    optimizer = Route(Is("matrix"), sgd(0.1), sgd(0.0))
    task = Quadratic(eigenvalues=(1.0,) * 8, matrix=(2, 3))
    last = [e for e in Run(task, optimizer, steps=200).events() if isinstance(e, Row) and e.name == "held_out"][-1]
    start = task.init(stream("report/0", "init"))
    assert last.value == pytest.approx(0.5 * float(start["rest"].square().sum()), rel=1e-3)


def test_a_table_given_by_hand_is_kept():
    task = Quadratic(eigenvalues=(1.0,) * 6, matrix=(2, 3))
    optimizer = bind(Route(Is("matrix"), sgd(0.1), sgd(0.0)), Tags((("matrix", Tag("up")),)))
    assert not asks(optimizer)
    last = [e for e in Run(task, optimizer, steps=50).events() if isinstance(e, Row) and e.name == "held_out"][-1]
    assert last.value > 0.1


def test_roles_on_a_task_without_a_table_are_refused():
    @dataclass(frozen=True)
    class Bare:
        init = source = losses = score = None

    with pytest.raises(ValueError, match="Bare does not tell them; give it a method tags"):
        Run(Bare(), Route(Is("matrix"), sgd(0.1), sgd(0.0)))  # pyright: ignore
    Run(Bare(), sgd(0.1))  # pyright: ignore
