"""A fixed set of examples seen in parts or all at once, and the arms that are tried on it."""

from typing import Any

from adamantine.comparison import Arm, Comparison
from adamantine.data.glyphs import Glyphs
from adamantine.nets.decoder import Decoder, sized
from adamantine.nets.mlp import Mlp
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.optim.sgd import sgd
from adamantine.optim.sign import signum
from adamantine.part import Part
from adamantine.tasks.fixed import Fixed
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language

ADAM, SGD, SIGN = "Adam", "SGD", "Signum"
LEAST = 1e-3  # nats, below which a loss is taken for fitted


def _adam(rate: float, seed: int) -> Part:
    return Clip(1.0, adam(rate, 0.9, 0.99))


def _descent(rate: float, seed: int) -> Part:
    return Clip(1.0, sgd(rate, 0.9))


def _sign(rate: float, seed: int) -> Part:
    return Clip(1.0, signum(rate))


def comparisons(scale: str) -> dict[str, list[Comparison]]:
    """By task, one at each number of batches seen at once, from few to all."""
    arms = (
        Arm(ADAM, _adam, (3e-3, 1e-2, 3e-2)), Arm(SGD, _descent, (0.1, 0.3, 1.0)), Arm(SIGN, _sign, (3e-4, 1e-3, 3e-3))
    )  # fmt: skip
    tiny = Language(model=Decoder(context=16, width=16, depth=1, heads=2), batch=8, limit=200_000, held_out=16)
    image = Images(Glyphs(), Mlp(256, 34, 32, 1), 16 if scale == "tiny" else 64)
    setting: dict[str, Any]
    steps, batches, setting = 150, 16, {"seeds": 4, "tuning_seeds": 1, "widen": 3}
    named: dict[str, Any] = {"language": tiny, "images": image}
    if scale == "tiny":
        steps, batches, setting = 20, 4, {"seeds": 3, "tuning_seeds": 1, "widen": 0}
    elif scale == "gpu":
        steps, setting = 3000, {"seeds": 5, "tuning_seeds": 2, "widen": 4}
        named = {"language": Language(model=sized("small"), batch=64), "images": Images(Glyphs(), Mlp(256, 34), 128)}
    sizes = (1, batches) if scale == "tiny" else (1, 4, batches)
    setting |= {"metric": "training", "every": steps}
    return {
        k: [Comparison(f"{k}, {n} of {batches}", Fixed(t, batches, n), arms, steps, **setting) for n in sizes]
        for k, t in named.items()
    }
