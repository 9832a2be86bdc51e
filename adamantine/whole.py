"""Minibatches seen from all examples of a fixed set: what theorems with noise speak of, exactly."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.gradient_norms import GradientNorms
from adamantine.run import Probe
from adamantine.tasks.fixed import Fixed


@dataclass(frozen=True)
class OnAll:
    """`measure` at these weights on all examples of the `Fixed` task, whatever the batch of the step."""

    measure: Probe

    def __call__(self, p: Point) -> Any:
        """What the measure gives."""
        return self.measure(whole(p))


@dataclass(frozen=True)
class BatchNoise:
    """The loss and the gradient's norms on all examples, and how the batches of the `Fixed` task differ from them.

    `whole_loss`; all of `GradientNorms` but the last, which is the largest partial derivative of any batch;
    `batch_variance`, the mean over batches of `|g_b - g|_2^2`; `batch_growth`, that of `|g_b|_2^2 / |g|_2^2`; and
    `batch_noise_l1`, the sum over coordinates of the root of the mean of `(g_b - g)_i^2`. Of single batches, as a step
    sees them with `at_once = 1`, and exact: no batch is left out. Costs a gradient of each.
    """

    def __call__(self, p: Point) -> dict[str, float]:
        """Eight numbers."""
        here = whole(p)
        out = {"whole_loss": float(here.loss), **GradientNorms()(here)}
        g = torch.stack([tree.flat(p.on(b).grad).double() for b in _examples(p)])
        apart, length = g - g.mean(0), float(g.mean(0).square().sum())
        second = float(g.square().sum(1).mean())
        out["gradient_max"] = float(g.abs().max())
        out["batch_variance"] = float(apart.square().sum(1).mean())
        out["batch_growth"] = second / length if length else math.inf
        out["batch_noise_l1"] = float(apart.square().mean(0).sqrt().sum())
        return out


def whole(p: Point) -> Point:
    """The same weights on all examples. Raises TypeError where the task has no fixed set of them."""
    return p.on(_placed(_at_once(_fixed(p)), p))


def _examples(p: Point) -> list[Any]:
    return [_placed(b, p) for b in _fixed(p).examples]


def _fixed(p: Point) -> Fixed:
    if not isinstance(p.task, Fixed):
        raise TypeError(f"whole: {type(p.task).__name__} has no fixed examples; give the task as Fixed(task, batches).")
    return p.task


def _placed(batch: Any, p: Point) -> Any:
    like = next(iter(p.w.values()))
    return tree.place(batch, like.device, like.dtype)


@lru_cache(maxsize=4)
def _at_once(task: Fixed) -> Any:
    """All examples as one batch, put together once."""
    return replace(task, at_once=0).source(torch.Generator())({})
