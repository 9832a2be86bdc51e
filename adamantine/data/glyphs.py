"""An endless stream of rendered letters and digits: the fonts that ship with matplotlib, random affine maps, noise.

No image comes twice, so that the training loss is the expected loss: the one-epoch regime of large models, small.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adamantine.point import stream

FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10", "cmss10", "cmtt10")
ATLAS = 32  # pixels a side of a glyph before it is transformed


@dataclass(frozen=True)
class Glyphs:
    """Grey images `[1, size, size]` in [-1, 1] of `alphabet`, one class a character.

    Each is turned by up to `turn` radians, scaled by a factor within `exp(+-scale)`, sheared by up to `shear`,
    shifted by up to `shift` of the frame, and covered by Gaussian noise of deviation `noise`. Raises ValueError
    where the fields describe no images.
    """

    size: int = 16
    alphabet: str = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # without I and O, which some fonts draw as 1 and 0
    turn: float = 0.3
    scale: float = 0.2
    shear: float = 0.2
    shift: float = 0.12
    noise: float = 0.2
    test: int = 1000

    def __post_init__(self) -> None:
        """Refuse what describes no images."""
        if self.size < 4 or self.test < 1:
            raise ValueError(f"Glyphs: size {self.size} is at least 4, and test {self.test} at least 1.")
        if len(set(self.alphabet)) != len(self.alphabet) or len(self.alphabet) < 2:
            raise ValueError(f"Glyphs: alphabet {self.alphabet!r} needs at least two different characters, each once.")
        for name in ("turn", "scale", "shear", "shift", "noise"):
            if not 0 <= getattr(self, name) < 4:
                raise ValueError(f"Glyphs: {name} is {getattr(self, name)}; it is a strength, at least 0 and below 4.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 1, self.size, self.size

    @property
    def classes(self) -> int:
        """One a character."""
        return len(self.alphabet)

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`n` fresh images `[n, 1, size, size]` and their classes `[n]`."""
        glyphs = atlas(self.alphabet)
        y = torch.randint(self.classes, (n,), generator=rng)
        picked = glyphs[torch.randint(len(glyphs), (n,), generator=rng), y][:, None]
        turn, grow, shear, across, down = (2 * torch.rand(5, n, generator=rng) - 1).unbind()
        cos, sin = torch.cos(self.turn * turn), torch.sin(self.turn * turn)
        grow, shear = torch.exp(self.scale * grow), self.shear * shear
        rows = [cos * grow, (cos * shear - sin) * grow, 2 * self.shift * across]
        rows += [sin * grow, (cos + shear * sin) * grow, 2 * self.shift * down]
        grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), [n, 1, self.size, self.size], align_corners=False)
        x = 2 * F.grid_sample(picked, grid, mode="bilinear", align_corners=False) - 1
        return (x + self.noise * torch.randn(x.shape, generator=rng)).clamp_(-1, 1), y

    def held_out(self) -> tuple[Tensor, Tensor]:
        """`test` images of the same kind, always the same, that no training stream contains."""
        return _held_out(self)


@functools.lru_cache(maxsize=8)
def _held_out(glyphs: Glyphs) -> tuple[Tensor, Tensor]:
    return glyphs.draw(glyphs.test, stream(0, "held-out glyphs"))


@functools.lru_cache(maxsize=8)
def atlas(alphabet: str) -> Tensor:
    """Every character in every font, `[fonts, characters, 32, 32]` in [0, 1], centred; ValueError for a blank one."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = sorted(f for f in folder.glob("*.ttf") if f.stem.split("-")[0] in FONTS)
    if not files:
        raise ValueError(f"Glyphs: matplotlib's fonts are not in {str(folder)!r}; install matplotlib again.")
    out = np.zeros((len(files), len(alphabet), ATLAS, ATLAS), np.float32)
    for i, file in enumerate(files):
        font = ImageFont.truetype(str(file), 24)
        for j, character in enumerate(alphabet):
            left, top, right, bottom = font.getbbox(character)
            image = Image.new("L", (ATLAS, ATLAS))
            at = math.floor((ATLAS - right - left) / 2), math.floor((ATLAS - bottom - top) / 2)
            ImageDraw.Draw(image).text(at, character, fill=255, font=font)
            out[i, j] = np.asarray(image, np.float32) / 255
    blank = [c for j, c in enumerate(alphabet) if not out[:, j].any((1, 2)).all()]
    if blank:
        raise ValueError(f"Glyphs: the fonts have no {', '.join(map(repr, blank))}; leave them out of the alphabet.")
    return torch.from_numpy(out)
