"""From an effect with its interval to a finding, by rules fixed before the data are seen."""

from collections.abc import Callable

from adamantine.finding import INCONCLUSIVE, REFUTED, SUPPORTED, Finding
from adamantine.stats import Effect


def above(
    statement: str,
    effect: Effect,
    bound: float,
    unit: str,
    task: str,
    keys: tuple[str, ...],
    shown: Callable[[float], float] = float,
) -> Finding:
    """`statement` says that the effect exceeds `bound`: supported or refuted where the whole interval agrees.

    `shown`, an increasing function, turns the effect's scale into that of `unit`.
    """
    verdict = SUPPORTED if effect.above(bound) else REFUTED if effect.below(bound) else INCONCLUSIVE
    rule = f"Supported if the whole interval lies above {shown(bound):.4g} {unit}, refuted if it lies below."
    return _finding(statement, verdict, effect, unit, task, keys, shown, rule)


def within(
    statement: str,
    effect: Effect,
    margin: float,
    unit: str,
    task: str,
    keys: tuple[str, ...],
    shown: Callable[[float], float] = float,
) -> Finding:
    """`statement` says that the effect is nothing, up to `margin`: an equivalence test by confidence interval.

    Supported where the whole interval lies inside `[-margin, margin]`, refuted where it lies outside.
    """
    outside = effect.above(margin) or effect.below(-margin)
    verdict = SUPPORTED if effect.within(margin) else REFUTED if outside else INCONCLUSIVE
    rule = (
        f"Supported if the whole interval lies within {shown(-margin):.4g} to {shown(margin):.4g} {unit}, refuted if "
        "it lies outside."
    )
    return _finding(statement, verdict, effect, unit, task, keys, shown, rule)


def _finding(
    statement: str,
    verdict: str,
    effect: Effect,
    unit: str,
    task: str,
    keys: tuple[str, ...],
    shown: Callable[[float], float],
    rule: str,
) -> Finding:
    interval = shown(effect.low), shown(effect.high)
    verdict = verdict if effect.n > 1 else INCONCLUSIVE
    return Finding(statement, verdict, shown(effect.value), interval, unit, effect.n, rule, task, effect.level, keys)
