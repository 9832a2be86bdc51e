"""The optimizer that follows from a profile."""

from adamantine.optim.clip import Clip
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.reset import Reset
from adamantine.optim.schedule import Constant, Linear, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Part
from adamantine.profiling import maps
from adamantine.profiling.profile import Profile
from adamantine.role import Named
from adamantine.route import Route

NATS = 0.02  # by which a policy, or what a network predicts, may move from one renewal to the next
FRACTION = 0.1  # of its errors that a critic's step may remove
USUAL = 0.9, 0.999, 1e-5


def derived(profile: Profile, nats: float = NATS, fraction: float = FRACTION, scale: float = 1.0) -> Part:
    """Adam with settings from the closed forms of `maps`, for actor and critic apart where the task has both.

    Momentum by noise and drift, memory of squares by the jump, the actor's rate by the divergence `nats` between
    renewals (or `nats / period` a step, where there are none), the critic's by the `fraction` of its errors that a step
    removes, all rates times `scale`; the momentum is forgotten at renewals where gradients before and after are
    opposed. What is not known from the profile stays as Adam has it. The rate of the profile is kept where nothing says
    how far its steps went.
    """
    annealed = Linear(warmup=0.0) if len(profile.groups) > 1 else Constant()
    sides = {g: _group(profile, g, nats, fraction, scale, annealed) for g in profile.groups}
    if "critic" in sides and "actor" in sides:
        return Clip(0.5, Route(Named("critic.*"), sides["critic"], sides["actor"]))
    return next(iter(sides.values()))


def settings(profile: Profile, group: str, nats: float = NATS, fraction: float = FRACTION) -> dict[str, float | str]:
    """`beta1`, `beta2`, `lr`, what to do at `renewal`, and the `batch` that the noise scale asks for, by name."""
    section, task = profile[group], profile["task"]
    beta1, beta2, _ = USUAL
    noise, drift = section["noise_to_signal"], section["drift_a_step"]
    if noise.known and drift.known:
        # A drift that cannot be told from none is taken for the largest that it may be.
        beta1 = maps.momentum(noise.value, drift.value if drift.low > 0 else max(drift.high, 0.0))
    if section["jump"].known:
        beta2 = maps.second_moment(beta1, section.value("jump"))
    rate, moved, removed = profile.rate, task.value("kl_renewal"), task.value("error_fraction")
    step = task.value("kl_step")
    if group == "critic" and removed > 0:
        rate *= fraction / removed
    elif group != "critic" and moved > 0:
        rate = maps.rate(rate, moved, nats)
    elif group != "critic" and step > 0:
        rate = maps.rate(rate, step, nats / profile.period)
    cosine = section["shift_cosine"]
    found: dict[str, float | str] = {"beta1": beta1, "beta2": beta2, "lr": rate}
    found["renewal"] = maps.renewal(cosine.high) if cosine.known else "keep"
    if section["noise_scale"].known:
        found["batch"] = maps.batch(section.value("noise_scale"))
    return found


def _group(profile: Profile, group: str, nats: float, fraction: float, scale: float, annealed: Schedule) -> Part:
    found = settings(profile, group, nats, fraction)
    beta1, beta2, rate = (float(f"{found[k]:.4g}") for k in ("beta1", "beta2", "lr"))
    part = Ema(beta1) >> Rms(beta2, USUAL[2]) >> Lr(rate * scale, annealed)
    return Reset(part, "first") if found["renewal"] == "reset" else part
