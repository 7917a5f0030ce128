"""What the corpus of brought folders is made of: small images, and a folder with what should become of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Case", "black_and_white", "grey", "picture", "pictures", "saved"]


@dataclass(frozen=True)
class Case:
    """A folder that someone brings.

    Attributes:
        make: fills the folder.
        layout: the one that is found.
        train, test, free: how many images of the manifest have that split (`free`: unassigned).
        quarantined, ignored: path → a part of the reason; all of them.
        notes: parts of what is said about the set.
        masks: image → mask.
        refused: a part of the one sentence, where nothing is read.
        settings: arguments of `scan`.
    """

    name: str
    make: Callable[[Path], object]
    layout: str = "folder"
    train: int = 0
    test: int = 0
    free: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    masks: dict[str, str] = field(default_factory=dict)
    refused: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def grey(name: str, size: tuple[int, int] = (24, 20), top: int = 255) -> NDArray[np.uint16]:
    """Noise of (width, height) pixels in 0 to `top` that is every name's own."""
    seed = list(hashlib.md5(name.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest())
    return np.random.default_rng(seed).integers(0, top + 1, (size[1], size[0])).astype(np.uint16)


def picture(path: Path, size: tuple[int, int] = (24, 20), **options: Any) -> Path:
    return saved(path, Image.fromarray(grey(str(path), size).astype(np.uint8)), **options)


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        picture(root / name)
    return root


def black_and_white(path: Path, size: tuple[int, int] = (24, 20)) -> Path:
    """A mask."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[2:7, 3:9] = 255
    return saved(path, Image.fromarray(pixels))


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path
