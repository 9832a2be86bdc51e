"""The profile: estimates without bias where the truth is known, closed-form maps, and the command."""

import math

import numpy as np
import pytest
import torch

from adamantine import __main__ as cli
from adamantine import stacked
from adamantine.optim.adam import adam
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.sgd import sgd
from adamantine.part import Chain
from adamantine.profiling import maps
from adamantine.profiling.derived import derived, settings
from adamantine.profiling.observer import Observer, groups
from adamantine.profiling.profile import NEVER, NOT_DETECTABLE, Estimate, Profile, Section, profile_of
from adamantine.result import Result
from adamantine.run import Row, Run
from adamantine.tasks.dials import Dials
from adamantine.tasks.ppo import PPO
from adamantine.tasks.twin import Twin

STILL = Chain() >> Lr(0.0)


def seen(task, part, renewals=12, seeds=16, period=None, rate=1.0):
    """The profile, and the raw rows of every run."""
    every = period or task.period
    runs = [Run(task, part, every * renewals, s, every=every, probes=(Observer(),)) for s in range(seeds)]
    rows = [[] for _ in runs]
    for i, event in stacked.events(runs):
        if isinstance(event, Row):
            rows[i].append(event)
    results = [Result(str(i), "done", tuple(r)) for i, r in enumerate(rows)]
    return profile_of(results, rate, getattr(task, "batch", 1), every), results


def raw(results, name):
    return np.concatenate([r.series(name)[1] for r in results])


def check_mean(x, truth, margin=4.5):
    """The mean is the truth within its own error."""
    error = x.std(ddof=1) / math.sqrt(len(x))
    assert abs(x.mean() - truth) < margin * error + 1e-12, (x.mean(), truth, error)
    assert error < 0.3 * abs(truth) or abs(truth) < 1e-12, "the test could not tell"


@pytest.mark.parametrize(
    "task",
    [
        Dials(8, period=2, drift=0.5, noise=0.5),
        Dials(8, period=2, drift=0.5, noise=0.5, density=0.5, delay=3),
        Dials(8, period=2, noise=0.5),
    ],
    ids=["drift", "sparse and late", "no drift"],
)
def test_signal_noise_and_drift_have_no_bias(task):
    _, results = seen(task, STILL, 40, 24)
    w = torch.zeros(8, dtype=torch.float64)
    steps = results[0].series("all/signal")[0]
    for k in (5, 20, 39):
        at = [float(r.series("all/signal")[1][k]) for r in results]
        assert steps[k] == 2 * k
        check_mean(np.array(at), float(task.gradient(w, k + 1, w).square().sum()))
        noise = [float(r.series("all/noise")[1][k]) for r in results]
        check_mean(np.array(noise), task.variance(w, k + 1, w))
    truth = (task.density * task.drift) ** 2
    if truth:
        check_mean(raw(results, "all/drift"), truth)
    else:
        x = raw(results, "all/drift")
        assert abs(x.mean()) < 4 * x.std() / math.sqrt(len(x))


def test_feedback_has_its_slope():
    task = Dials(4, period=4, feedback=0.5, noise=0.1, held_out=2048)
    profile, _ = seen(task, sgd(0.1), 30, 12)
    slope = profile["task"]["feedback"]
    w = task.theta(1)
    # a shift of phi^2 |dw|^2 / 4 a dimension, against |dw|^2 / 2 nats and what the inputs' mean adds to them
    assert slope.low < 0.5**2 / 4 * 2 < slope.high * 1.2
    assert slope.low > 0
    assert float(w.norm()) == pytest.approx(1.0)
    none, _ = seen(Dials(4, period=4, noise=0.1, held_out=2048), sgd(0.1), 30, 12)
    assert none["task"]["feedback"].low < 0 < none["task"]["feedback"].high


def test_momentum_goes_stale_where_the_objective_jumps():
    still, _ = seen(Dials(8, period=8, noise=0.1, batch=64), Ema(0.9) >> Lr(0.0), 12, 6)
    moving, _ = seen(Dials(8, period=8, drift=2.0, noise=0.1, batch=64), Ema(0.9) >> Lr(0.0), 12, 6)
    assert still["all"]["staleness"].low > 0.9
    assert moving["all"]["staleness"].value < 0.95 < still["all"]["staleness"].value
    assert moving["all"]["shift_cosine"].value < still["all"]["shift_cosine"].value


def test_the_twin_does_not_drift_though_batches_learnt_by_heart_say_so():
    twin = Twin(PPO(envs=2, horizon=64, held_out=8))
    profile, _ = seen(twin, adam(3e-3), 24, 6)
    critic = profile["critic"]
    assert critic["drift"].low < 0 < critic["drift"].high or critic["drift"].value < 0.05
    assert critic["naive_jump"].low > 1.1
    assert profile["actor"]["naive_jump"].value > 1.05
    assert set(profile.groups) == {"actor", "critic"}


def test_what_is_not_there_is_not_said():
    noisy, _ = seen(Dials(8, period=2, noise=300.0), STILL, 8, 4)
    assert noisy["all"]["noise_scale"].why == NOT_DETECTABLE
    assert settings(noisy, "all")["beta1"] == 0.9
    quiet, _ = seen(Dials(8, period=1000), sgd(0.1), 8, 4, period=5)
    assert quiet["all"]["drift"].why == NEVER
    assert quiet["task"]["feedback"] == Estimate(0.0, 0.0, 0.0, 4)
    with pytest.raises(ValueError, match="no rows of an Observer"):
        profile_of([Result("a", "done", (Row(0, "loss", 1.0),))], 1.0, 1, 1)
    with pytest.raises(KeyError, match="there is no group 'actor'"):
        quiet["actor"]


def test_an_observer_changes_nothing():
    task = PPO(envs=2, horizon=16, held_out=2)
    bare = Run(task, adam(1e-3), 40, every=16)
    watched = Run(task, adam(1e-3), 40, every=16, probes=(Observer(),))
    names = {"loss", "return", "evaluated"}
    one, other = ([e for e in run.events() if isinstance(e, Row) and e.name in names] for run in (bare, watched))
    assert one == other


def test_a_profile_is_a_value():
    profile, _ = seen(Dials(8, period=2, drift=0.5), STILL, 8, 3)
    names = {"Profile": Profile, "Section": Section, "Estimate": Estimate, "nan": math.nan, "inf": math.inf}
    again = eval(repr(profile), names)
    assert repr(again) == repr(profile)
    assert repr(derived(again)) == repr(derived(profile))


def test_groups():
    assert groups(["actor.a", "critic.b"]) == {"actor": ["actor.a"], "critic": ["critic.b"]}
    assert groups(["actor.a", "x"]) == {"all": ["actor.a", "x"]}


# --- closed forms ---------------------------------------------------------------------------------------------


def error_of_average(beta, n2, d2, kind, rng, steps=4000):
    """Mean squared error of an exponential average of a gradient in one dimension that drifts, by simulation."""
    moves = np.full(steps, math.sqrt(d2)) if kind == "line" else rng.normal(0, math.sqrt(d2), steps)
    g = np.cumsum(moves)
    seen = g + rng.normal(0, math.sqrt(n2), steps)
    m, errors = seen[0], []
    for t in range(steps):
        m = beta * m + (1 - beta) * seen[t]
        errors.append((m - g[t]) ** 2)
    return float(np.mean(errors[steps // 4 :]))


@pytest.mark.parametrize("kind", ["line", "walk"])
@pytest.mark.parametrize(("n2", "d2"), [(10.0, 0.003), (1.0, 1e-4), (100.0, 0.01)])
def test_the_momentum_is_near_the_best_of_a_grid(kind, n2, d2):
    grid = [1 - 1 / n for n in (1.5, 2, 3, 5, 8, 12, 20, 32, 50, 80, 130, 200, 320)]
    found = {b: np.mean([error_of_average(b, n2, d2, kind, np.random.default_rng(s)) for s in range(3)]) for b in grid}
    chosen = np.mean(
        [error_of_average(maps.momentum(n2, d2, kind), n2, d2, kind, np.random.default_rng(s)) for s in range(3)]
    )
    assert chosen < 1.15 * min(found.values())


def test_limits_of_the_maps():
    assert maps.momentum(11.3, 0.003) == pytest.approx(0.898, abs=0.01)
    assert maps.momentum(0.0, 0.1) == 0.0
    assert maps.momentum(1.0, 0.0) == 0.999
    assert maps.momentum(1e-6, 1.0) == 0.0
    assert maps.overshoot(0.9, 0.999, 2.0) == pytest.approx(1.88, rel=5e-3)
    assert maps.overshoot(0.9, 0.999, 1e6) == pytest.approx(6.57, rel=5e-3)
    assert maps.second_moment(0.9, 1.0) == pytest.approx(0.999)
    assert maps.second_moment(0.9, 1e6) < maps.second_moment(0.9, 5.0) < 0.999
    assert maps.overshoot(0.9, maps.second_moment(0.9, 10.0), 10.0) <= 2.0
    assert maps.rate(0.1, 4e-4, 1e-4) == pytest.approx(0.05)
    assert maps.renewal(-0.1) == "reset"
    assert maps.renewal(0.1) == "keep"
    assert maps.batch(43.4) == 43
    assert maps.floor(400.0, 4, 100) == pytest.approx(0.01)


def test_a_reset_follows_where_the_gradient_turns_round():
    task = Dials(2, period=24, drift=4.0, kind="line", noise=0.05, batch=128)
    section = seen(task, sgd(0.3), 16, 4, rate=0.3)[0]["all"]
    assert section["shift_cosine"].known or section["shift_cosine"].why == NOT_DETECTABLE
    turned = Section(
        "all",
        (
            ("shift_cosine", Estimate(-0.5, -0.7, -0.3, 4)),
            *((n, Estimate(1, 1, 1, 4)) for n in ("noise_to_signal", "drift_a_step", "jump", "noise_scale")),
        ),
    )
    whole = Section("task", (("kl_renewal", Estimate(0.08, 0.08, 0.08, 4)),))
    part = derived(Profile((turned, whole), 0.1, 32, 16))
    assert type(part).__name__ == "Reset"
    assert "Lr(size=0.05" in repr(part)


# --- the command ----------------------------------------------------------------------------------------------


def run(words, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    return left.value.code, capsys.readouterr().out


def test_the_command_shows_a_profile_and_is_instant_the_second_time(tmp_path, capsys):
    words = ["profile", "PPO(CartPole(), 2, 16)", "--seeds", "2", "--renewals", "4", "--store", str(tmp_path / "s")]
    code, out = run([*words, "--jobs", "1"], capsys)
    assert code == 0
    for text in ("(twin)", "noise", "feedback", "derived: Clip", "beta1"):
        assert text in " ".join(out.split()), text
    before = sorted(p.name for p in (tmp_path / "s" / "runs").iterdir())
    assert len(before) == 4
    again = run([*words, "--jobs", "1"], capsys)
    assert again[0] == 0
    assert again[1] == out
    assert sorted(p.name for p in (tmp_path / "s" / "runs").iterdir()) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cartpol"], "near are cartpole"),
        (["CartPole()"], "not a task; give PPO(CartPole()), say"),
        (["PPO(CartPole(), minibatches=7)"], "does not divide"),
        (["PPO(Gym('CartPol-v1'))"], "near are CartPole-v1"),
        (["cartpole", "--seeds", "1"], "at least 2"),
        (["PPO(]"], "is no task"),
    ],
)
def test_bad_words_get_a_sentence(words, says, capsys):
    if "Gym" in words[0]:
        pytest.importorskip("gymnasium", reason="gymnasium is not installed (pip install 'adamantine[rl]')")
    code, out = run(["profile", *words], capsys)
    assert code == 1
    assert says in " ".join(out.split())
    assert "Traceback" not in out


def test_a_task_from_a_file(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("from adamantine.tasks.dials import Dials\nmine = Dials(4, period=2)\nnothing = 3\n")
    words = ["--seeds", "2", "--renewals", "4", "--store", str(tmp_path / "s"), "--jobs", "1"]
    assert run(["profile", f"{file}:mine", *words], capsys)[0] == 0
    code, out = run(["profile", f"{file}:nothing", *words], capsys)
    assert code == 1
    assert "is not a task" in " ".join(out.split())
