"""Figures of slices: what is drawn is what was measured."""

import pytest
import torch

from adamantine.landscape import DRAWN, line_figure, path_figure, plane_figure
from adamantine.point import stream
from adamantine.probes.trajectory import trajectory_plane
from adamantine.report import trace
from adamantine.report.palette import colours


def drawable(figure):
    return trace.spec(figure, colours([figure]))


def test_one_slice_is_a_line_and_several_are_a_mean_with_its_band():
    at = [-1.0, 0.0, 1.0]
    figure = line_figure("sharp and flat", at, {"one": [[3.0, 1.0, 3.0]], "two": [[2.0, 1.0, 4.0], [4.0, 1.0, 4.0]]})
    one, two = figure.curves
    assert one.x == at
    assert one.y == [3.0, 1.0, 3.0]
    assert not one.low
    assert two.y == [3.0, 1.0, 4.0]
    assert two.high[0] - 3.0 == pytest.approx(12.706, rel=1e-3), "Student's t with one degree of freedom"
    assert two.low[1] == two.high[1] == 1.0
    assert "1 or 2 slices" in figure.caption
    assert drawable(figure)["total"] == 6
    assert "One slice a curve" in line_figure("", at, {"one": [[3.0, 1.0, 3.0]]}).caption


def test_a_slice_that_does_not_fit_is_a_sentence():
    for wrong in ([], [[1.0]]):
        with pytest.raises(ValueError, match="'flat' needs at least one slice, each with 2 losses"):
            line_figure("", [0.0, 1.0], {"flat": wrong})


def test_a_plane_has_its_places_where_they_belong():
    xs, ys = [-1.0, 0.0, 2.0], [-0.5, 1.5]
    heat = plane_figure("a plane", xs, ys, [[10 * y + x for x in xs] for y in ys], scale="linear")
    assert heat.columns == (-1.0, 0.0, 2.0)
    assert heat.rows == ("1.5", "-0.5"), "y grows upwards"
    assert heat.values == ((14.0, 15.0, 17.0), (-6.0, -5.0, -3.0))
    assert plane_figure("", [0.0], [i * 0.2 - 0.6 for i in range(4)], [[1.0]] * 4).rows == ("0", "-0.2", "-0.4", "-0.6")
    with pytest.raises(ValueError, match="2 rows of 3 numbers"):
        plane_figure("", xs, ys, [[1.0, 2.0, 3.0]])


@pytest.mark.parametrize("steps", [10, 2 * DRAWN + 7])
def test_a_path_is_drawn_with_what_a_random_walk_would_explain(steps):
    x = torch.randn(steps, 30, generator=stream(0, "walk")).cumsum(0)
    plane = trajectory_plane([{"w": row} for row in x])
    figure = path_figure("a walk", plane)
    path, first, last = figure.curves
    assert len(path.x) <= DRAWN + 1
    assert (path.x[0], path.y[0]) == (first.x[0], first.y[0]) == tuple(plane.path[0].tolist())
    assert (path.x[-1], path.y[-1]) == (last.x[0], last.y[0]) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert f"would have {sum(plane.null[:2]):.0%}" in figure.caption
    assert f"{plane.explained[1]:.0%} (random walk {plane.null[1]:.0%})" in figure.y
    assert drawable(figure)["data"]
