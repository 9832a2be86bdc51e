"""One's own images: a folder with a subfolder for each class, or an array file."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from adamantine.point import stream

HELD_OUT = 10
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Pictures:
    """Images `[channels, size, size]` in [-1, 1] from `path`, one in ten of each class held out.

    A folder: its subfolders are the classes, in the order of their names, and hold image files. An `.npz` file: `x`
    of shape `[N, H, W]` or `[N, H, W, C]`, bytes or numbers in [0, 1], and whole numbers `y [N]` from 0. Images
    are resized, and grey with `channels=1`, coloured with 3. Raises ValueError where there is nothing of the kind.
    """

    path: str
    size: int = 16
    channels: int = 1

    def __post_init__(self) -> None:
        """Refuse what describes no images."""
        if self.size < 4 or self.channels not in (1, 3):
            raise ValueError(f"Pictures: size {self.size} is at least 4, and channels {self.channels} is 1 or 3.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.size, self.size

    @property
    def classes(self) -> int:
        """How many there are at `path`."""
        return int(max(y.max() for y in _load(self)[1::2])) + 1

    def fingerprint(self) -> str:
        """SHA-256 of images and classes."""
        whole = hashlib.sha256()
        for part in _load(self):
            whole.update(part.numpy().tobytes())
        return whole.hexdigest()

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`n` training images, drawn with replacement, and their classes."""
        x, y, _, _ = _load(self)
        i = torch.randint(len(x), (n,), generator=rng)
        return x[i], y[i]

    def held_out(self) -> tuple[Tensor, Tensor]:
        """The images never trained on, and their classes."""
        return _load(self)[2:]


@functools.lru_cache(maxsize=4)
def _load(pictures: Pictures) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and classes, held-out images and classes."""
    path = Path(pictures.path).expanduser()
    if path.is_dir():
        images, labels = _folder(path, pictures)
    elif path.suffix == ".npz" and path.exists():
        images, labels = _arrays(path, pictures)
    else:
        raise ValueError(f"Pictures: {pictures.path!r} is neither a folder of classes nor an .npz file; give one.")
    x = torch.from_numpy(np.stack(images)).float() / 127.5 - 1
    y = torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(x), generator=stream(0, "held-out pictures"))
    x, y = x[order], y[order]
    test = torch.zeros(len(x), dtype=torch.bool)
    for label in y.unique():
        members = torch.nonzero(y == label).flatten()
        test[members[: len(members) // HELD_OUT]] = True
    if not test.any():
        raise ValueError(
            f"Pictures: {pictures.path!r} has no class of at least {HELD_OUT} images; one in ten is held out."
        )
    return x[~test], y[~test], x[test], y[test]


def _folder(path: Path, pictures: Pictures) -> tuple[list[np.ndarray], list[int]]:
    classes = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    images, labels = [], []
    for label, folder in enumerate(classes):
        for file in sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES):
            try:
                with Image.open(file) as image:
                    images.append(_fitted(image, pictures))
            except (UnidentifiedImageError, OSError) as error:
                raise ValueError(f"Pictures: {str(file)!r} is not an image that can be read; remove it.") from error
            labels.append(label)
    if len(set(labels)) < 2:
        raise ValueError(f"Pictures: {str(path)!r} needs a subfolder of images for each of at least two classes.")
    return images, labels


def _arrays(path: Path, pictures: Pictures) -> tuple[list[np.ndarray], list[int]]:
    try:
        with np.load(path, allow_pickle=False) as held:
            names = list(held)
            x, y = (held[name] if name in names else None for name in ("x", "y"))
    except (ValueError, TypeError, OSError, BadZipFile) as error:
        raise ValueError(
            f"Pictures: {str(path)!r} is not a file of arrays that can be read; write it with numpy.savez, x and y "
            "being arrays of numbers."
        ) from error
    if x is None or y is None:
        raise ValueError(f"Pictures: {str(path)!r} holds {', '.join(names)}; it needs arrays x and y.")
    images = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3, 4))
    if not images or not x.size or x.dtype.kind not in "biuf" or x.shape[:1] != y.shape:
        raise ValueError(
            f"Pictures: {str(path)!r} has x of shape {x.shape} and y of shape {y.shape}; x is [N, H, W] or "
            "[N, H, W, C], numbers of 1, 3 or 4 channels, and y has N whole numbers from 0."
        )
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise ValueError(
            f"Pictures: y of {str(path)!r} has other values than whole numbers from 0; number the classes."
        )
    if x.dtype != np.uint8:
        if not np.isfinite(x).all() or x.min() < 0 or x.max() > 1:
            raise ValueError(f"Pictures: x of {str(path)!r} leaves [0, 1]; scale it, or store bytes.")
        x = np.rint(255 * x).astype(np.uint8)
    x = x[..., 0] if x.ndim == 4 and x.shape[3] == 1 else x
    return [_fitted(Image.fromarray(image), pictures) for image in x], y.tolist()


def _fitted(image: Image.Image, pictures: Pictures) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
        image = Image.fromarray(np.rint(np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))
    fitted = image.convert("L" if pictures.channels == 1 else "RGB").resize((pictures.size, pictures.size))
    return np.atleast_3d(np.asarray(fitted)).transpose(2, 0, 1)
