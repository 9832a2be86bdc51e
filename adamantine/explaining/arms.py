"""Optimizers that differ by one dial at a time: the coordinates, the sharing of moments, the update, the rule.

AdamW in coordinates rotated over all parameters, layers, rows or columns, in blocks of different size, of some kinds of
layers only, and by a rotation that is turned up from none; in the singular basis, renewed more or less often, and in
Shampoo's; with one second moment for what a rotation mixes (the twins: arXiv:2410.19964 rotates, arXiv:2406.16793
shares); with its updates' singular values forced; and other rules.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from adamantine.comparison import Arm
from adamantine.optim.adam import adamw
from adamantine.optim.basis import InBasis
from adamantine.optim.clip import Clip
from adamantine.optim.decay import Decay
from adamantine.optim.eigenbasis import Eigenbasis
from adamantine.optim.givens import Givens
from adamantine.optim.hadamard import Hadamard
from adamantine.optim.lion import lion
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.muon import muon
from adamantine.optim.partial_basis import Only
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.schedule import Cosine
from adamantine.optim.second_moment import Rms
from adamantine.optim.sgd import sgd
from adamantine.optim.sign import signum
from adamantine.optim.singular_power import SingularPower
from adamantine.optim.svd_basis import SvdBasis
from adamantine.part import Part
from adamantine.role import Tags
from adamantine.run import Probe

BETA1, BETA2, DECAY, CLIP = 0.9, 0.95, 0.1, 1.0
SCHEDULE = Cosine(0.1)
REFERENCE = "AdamW"
LAYERS = {
    "embedding": ("embedding", "position", "patch"),
    "attention": ("query", "key", "value", "output"),
    "hidden": ("up", "down", "gate", "matrix", "convolution"),
    "head": ("head",),
}
# The rotation, and its twin with one second moment for all that the rotation mixes.
TWINS = {
    "all rotated": "one v",
    "layers rotated": "v a layer",
    "rows rotated": "v a row",
    "columns rotated": "v a column",
}
SHARED: dict[str, Any] = {"one v": "all", "v a layer": "tensor", "v a row": "row", "v a column": "column"}
STRENGTHS, BLOCKS, REFRESHED, POWERS = (0.02, 0.05, 0.1, 0.3, 1.0), (2, 4, 16, 64), (5, 20, 100), (0.5, 0.0)


def _adamw(rate: float, shape: Any = "full") -> Part:
    return Clip(CLIP, adamw(rate, BETA1, BETA2, decay=DECAY, schedule=SCHEDULE, shape=shape))


def _in(basis: Callable[[int], Any], rate: float, seed: int) -> Part:
    return InBasis(_adamw(rate), basis(seed))


def _mixed(scope: Any, seed: int) -> Any:
    return Hadamard(scope, seed=seed) if scope in ("all", "layer") else BlockHaar(scope, seed=seed)


def _blocks(size: int, seed: int) -> Any:
    return BlockHaar("layer", size, seed)


def _some(names: tuple[str, ...], seed: int) -> Any:
    return Only(Hadamard("layer", seed=seed), names)


def _turned(strength: float, seed: int) -> Any:
    return Givens("layer", strength, seed=seed)


def _plain(rate: float, seed: int) -> Part:
    return _adamw(rate)


def _sharing(shape: Any, rate: float, seed: int) -> Part:
    return _adamw(rate, shape)


def _singular(every: int, rate: float, seed: int) -> Part:
    return Clip(CLIP, SvdBasis(Ema(BETA1) >> Rms(BETA2), every=every) >> Decay(DECAY) >> Lr(rate, SCHEDULE))


def _eigen(rate: float, seed: int) -> Part:
    return Clip(CLIP, Ema(BETA1) >> Eigenbasis(Rms(BETA2), BETA2, every=10) >> Decay(DECAY) >> Lr(rate, SCHEDULE))


def _forced(power: float, rate: float, seed: int) -> Part:
    return Clip(CLIP, Ema(BETA1) >> Rms(BETA2) >> SingularPower(power) >> Decay(DECAY) >> Lr(rate, SCHEDULE))


def _signum(rate: float, seed: int) -> Part:
    return Clip(CLIP, signum(rate, BETA1, DECAY, SCHEDULE))


def _signum_rotated(rate: float, seed: int) -> Part:
    return InBasis(_signum(rate, seed), Hadamard("layer", seed=seed))


def _lion(rate: float, seed: int) -> Part:
    return Clip(CLIP, lion(rate, decay=DECAY, schedule=SCHEDULE))


def _muon(rate: float, seed: int) -> Part:
    return Clip(CLIP, muon(rate, decay=DECAY, shaping="match_rms_adamw", adam_ratio=1.0, schedule=SCHEDULE))


def _descent(rate: float, seed: int) -> Part:
    return Clip(CLIP, sgd(rate, 0.9, decay=1e-4, schedule=SCHEDULE))


def arms(tags: Tags, rates: int, probes: tuple[Probe, ...] = (), few: bool = False) -> tuple[Arm, ...]:
    """The arms for a network with these roles, `rates` in a grid of factors of two each; the reference first.

    With `few` only what rotates or shares over whole scopes, and two strengths: for a trial.
    """
    adam, small, large = (_grid(centre, rates) for centre in (1e-2, 1.5e-3, 0.2))
    bases: dict[str, Callable[[int], Any]] = {
        name: partial(_mixed, scope) for name, scope in zip(TWINS, ("all", "layer", "row", "column"), strict=True)
    }
    if not few:
        bases |= {f"blocks of {n}": partial(_blocks, n) for n in BLOCKS}
        bases |= {f"{kind} rotated": partial(_some, names) for kind, names in _kinds(tags).items()}
    bases |= {f"turned by {t:g}": partial(_turned, t) for t in (STRENGTHS[1:4:2] if few else STRENGTHS)}
    made: dict[str, Callable[[float, int], Part]] = {REFERENCE: _plain}
    made |= {name: partial(_in, basis) for name, basis in bases.items()}
    made |= {name: partial(_sharing, shape) for name, shape in SHARED.items()}
    if few:
        return tuple(Arm(name, f, adam, probes) for name, f in made.items())
    made |= {f"singular basis, {n} steps": partial(_singular, n) for n in REFRESHED} | {"eigenbasis": _eigen}
    made |= {f"singular values to {x:g}": partial(_forced, x) for x in POWERS}
    rest = {"Signum": _signum, "Signum, rotated": _signum_rotated, "Lion": _lion}
    return (
        *(Arm(name, f, adam, probes) for name, f in made.items()),
        *(Arm(name, f, small, probes) for name, f in rest.items()),
        Arm("Muon", _muon, adam, probes),
        Arm("SGD", _descent, large, probes),
    )


def _kinds(tags: Tags) -> dict[str, tuple[str, ...]]:
    """Names of the tensors of each kind of layer, where there are any and they are not all."""
    found = {
        kind: tuple(k for k, tag in tags.pairs if any(role in roles for role in tag.role.split("+")))
        for kind, roles in LAYERS.items()
    }
    return {kind: names for kind, names in found.items() if 0 < len(names) < len(tags.pairs)}


def _grid(centre: float, n: int) -> tuple[float, ...]:
    return tuple(float(f"{centre * 2.0 ** (i - n // 2):.4g}") for i in range(n))
