"""The self-test of differentiation: the package's own modes are right, and planted errors are found."""

from dataclasses import replace
from io import StringIO

import pytest
import torch
from rich.console import Console
from torch.autograd import Function

from adamantine import __main__ as cli
from adamantine import catalogue
from adamantine.autodiff import kernels, modes
from adamantine.autodiff.check import check, failed, told
from adamantine.listing import entries

OWN = [m for m in modes.MODES if m.own]
ANSWERS = check(modes=OWN)
HVP = [m for m in OWN if "hvp" in m.oracles]


class Flat(Function):
    """`x^2`, whose derivative is right and gives nothing to differentiate again but its factor."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0].detach() * g


class Doubled(Flat):
    """`x^2`, whose derivative is twice what it should be."""

    @staticmethod
    def backward(ctx, g):
        return 4 * ctx.saved_tensors[0] * g


def shown(answers):
    out = StringIO()
    Console(width=120, file=out).print(catalogue.derivatives(answers))
    return out.getvalue()


def square(function):
    return kernels.Op(
        "square", lambda x, gain, bias: function.apply(x) * gain + bias, lambda x, gain, bias: x * x * gain + bias
    )


@pytest.mark.parametrize("a", ANSWERS, ids=[f"{a.mode.name} through {a.op}" for a in ANSWERS])
def test_the_own_modes_are_right(a):
    assert not a.wrong
    assert not a.refusal
    assert (a.error is None) == (a.op == "batch norm" and not a.mode.coupled)


@pytest.mark.parametrize("op", kernels.OPS, ids=lambda op: op.name)
def test_the_primitives_are_the_same_function(op):
    rng = torch.Generator().manual_seed(1)
    x, gain, bias = (torch.randn(s, generator=rng, dtype=torch.float64) for s in ((3, 5, 8), (8,), (8,)))
    torch.testing.assert_close(op.native(x, gain, bias), op.primitive(x, gain, bias))


def test_third_derivatives_are_those_of_differences():
    rms = next(op for op in kernels.OPS if op.name == "rms norm")
    third = [m for m in modes.MODES if not m.oracles]
    assert len(third) == 2
    assert not any(a.wrong or a.refusal for a in check(ops=[rms], modes=third))
    network = kernels.Network(rms.primitive)
    w, v = (network.init(torch.Generator().manual_seed(i)) for i in (1, 2))
    batch = network.source(torch.Generator().manual_seed(3))(w)
    e = 1e-4
    sides = [modes.reverse(modes.Point(network, {k: x + s * v[k] for k, x in w.items()}, batch), v, 2) for s in (e, -e)]
    found = modes.reverse(modes.Point(network, w, batch), v, 3)
    for k, x in found.items():
        torch.testing.assert_close(x, (sides[0][k] - sides[1][k]) / (2 * e), rtol=1e-5, atol=1e-3)


def test_a_wrong_second_derivative_is_found():
    answers = {a.mode.name: a for a in check(ops=[square(Flat)], modes=OWN)}
    wrong = {name for name, a in answers.items() if a.wrong}
    assert wrong == {"H v, reverse over reverse"}  # a difference of right gradients is right
    assert failed(list(answers.values()))


def test_a_wrong_first_derivative_is_found_in_every_own_mode():
    answers = check(ops=[square(Doubled)], modes=OWN)
    assert all(a.wrong for a in answers), [a.mode.name for a in answers if not a.wrong]


def test_a_refusal_is_no_error():
    def refuse(p, v):
        raise RuntimeError("derivative for square is not implemented\nand more")

    refusing = replace(HVP[0], way=refuse)
    (a,) = answers = check(ops=[square(Flat)], modes=[refusing])
    assert a.refusal == "derivative for square is not implemented"
    assert a.error is None
    assert not a.wrong
    assert not failed(answers)
    assert "Refused" in told(answers, {})[0]
    assert "refuses" in shown(answers)


def test_the_table_has_a_line_a_mode_and_a_column_a_kernel():
    lines = shown(check(ops=[square(Flat), replace(kernels.OPS[1], name="batch")], modes=OWN)).splitlines()
    assert lines[0].split() == ["mode", "square", "batch"]
    cells = {line[:28].strip(): line[28:].split() for line in lines[1:]}
    assert list(cells) == [m.name for m in OWN]
    assert cells["gradient"] == ["ok", "ok"]
    assert cells["g_i, one backward pass"] == ["ok", "-"]
    wrong, right = cells["H v, reverse over reverse"]
    assert float(wrong) > 0.01
    assert right == "ok"


def test_not_finite_is_wrong():
    nan = kernels.Op("nan", lambda x, gain, bias: (x - x) / (x - x), lambda x, gain, bias: x)
    assert all(a.wrong for a in check(ops=[nan], modes=HVP))


def test_the_sentence_names_the_instruments_that_are_wrong():
    said = told(check(ops=[square(Flat)], modes=OWN), catalogue.askers())
    assert len(said) == 1
    assert "wrong on this machine" in said[0]
    assert "square" in said[0]
    for name in ("Sharpness", "Trace", "Spectrum"):
        assert name in said[0]
    assert "GradientRank" not in said[0]


def test_a_mode_that_is_not_used_is_a_hazard_and_no_failure():
    reverse = next(m for m in modes.MODES if m.name.startswith("H v, reverse"))
    foreign = modes.Mode("planted", ("hvp",), reverse.way, reverse.truth)
    answers = check(ops=[square(Flat)], modes=[foreign])
    assert answers[0].wrong
    assert not failed(answers)
    first, last = told(answers, catalogue.askers())
    assert "Sharpness" in first
    assert "if they used it" in first
    assert "right on this machine" in last


def test_every_oracle_of_an_instrument_is_held_to_a_mode():
    asked = set(catalogue.askers())
    assert asked - {"loss"} <= {oracle for m in OWN for oracle in m.oracles}
    assert {name for names in catalogue.askers().values() for name in names} <= {e.name for e in entries("probes")}


def test_the_command(capsys, monkeypatch):
    with pytest.raises(SystemExit) as end:
        cli.main(["selftest"])
    assert end.value.code == 0
    assert "is right on this machine" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(cli, "check", lambda device: check(device, [square(Flat)], OWN))
    with pytest.raises(SystemExit) as end:
        cli.main(["selftest"])
    assert end.value.code == 1
    with pytest.raises(SystemExit) as end:
        cli.main(["selftest", "--device", "cuda:77"])
    assert end.value.code == 1
