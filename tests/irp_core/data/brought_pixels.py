"""Folders whose images are not what they seem: depths, scales, pages, formats, masks beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from irp_core.config import Images
from tests.irp_core.data.brought import Case, black_and_white, grey, picture, pictures, saved

__all__ = ["PIXELS_BROUGHT"]


def _of(kind: type, name: str = "x.tif", top: int = 255, divide: float = 1.0):  # type: ignore[no-untyped-def]
    """An image of values of `kind` in 0 to top / divide, and a plain one."""

    def make(root: Path) -> None:
        picture(root / "plain.png")
        saved(root / name, Image.fromarray((grey(name, top=top) / divide).astype(kind)))

    return make


def _twelve_bits(root: Path) -> None:
    for name in ("1.png", "2.tif", "3.png"):
        saved(root / name, Image.fromarray(grey(name, top=4095)))


def _pages(root: Path) -> None:
    frames = [Image.fromarray(grey(name).astype(np.uint8)) for name in "abc"]
    for name in ("x.tif", "x.webp", "y.png"):
        saved(root / name, frames[0], save_all=True, append_images=frames[1:])
        frames = frames[1:] + frames[:1]


def _renamed(root: Path) -> None:
    """Files that say one format and are another: Pillow would start Ghostscript for the first."""
    picture(root / "plain.png")
    (root / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    picture(root / "x.gif").rename(root / "gif.png")
    picture(root / "x.ppm").rename(root / "ppm.jpg")


def _damaged(root: Path) -> None:
    whole = picture(root / "plain.jpg", (200, 200))
    (root / "cut.jpg").write_bytes(whole.read_bytes()[:2000])
    (root / "empty.png").touch()
    (root / "text.png").write_text("I am no image")
    (root / "head.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def _huge(root: Path) -> None:
    picture(root / "plain.png")
    saved(root / "huge.png", Image.new("1", (14000, 14000)))


def _modes(root: Path) -> None:
    colour = Image.fromarray(np.dstack([grey(name).astype(np.uint8) for name in "rgb"]))
    for mode, name in (("CMYK", "1.jpg"), ("RGBA", "2.png"), ("P", "3.png"), ("LA", "4.png"), ("1", "5.bmp")):
        saved(root / name, colour.convert(mode))
    saved(root / "lab.tif", Image.merge("LAB", colour.split()))


def _not_finite(root: Path) -> None:
    values: NDArray[np.float32] = grey("x").astype(np.float32)
    values[0, 0] = np.nan
    picture(root / "plain.png")
    saved(root / "x.tif", Image.fromarray(values))


def _masks_beside(root: Path) -> None:
    for name in ("1", "2"):
        picture(root / f"{name}.jpg")
        black_and_white(root / f"{name}.png")


def _masks_by_suffix(root: Path) -> None:
    for name, suffix in (("1", "_mask"), ("2", "_GT"), ("3", "-mask")):
        picture(root / "crack" / f"{name}.png")
        black_and_white(root / "crack" / f"{name}{suffix}.png")
    pictures(root, "good/4.png")


def _backlit(root: Path) -> None:
    """Black and white themselves: neither is the other's mask."""
    for number, ending in enumerate(("png", "bmp")):
        pixels = np.zeros((20, 24), np.uint8)
        pixels[4:9, 5 + number : 12] = 255
        saved(root / f"x.{ending}", Image.fromarray(pixels))


def _thumbnails(root: Path) -> None:
    for name in ("1", "2", "3"):
        picture(root / f"{name}.png", (96, 80))
    picture(root / "1_thumb.png", (24, 20))
    picture(root / "thumb_2.jpg", (24, 20))
    picture(root / "overview.png", (200, 300))


def _odd_size(root: Path) -> None:
    for name in ("1", "2", "3"):
        picture(root / f"{name}.png", (96, 80))
    picture(root / "4.png", (12, 10))


_DARK = (
    "no value above 4095 of 65535 occurs in 3 images of 16 bits: if the camera has 12 bits, set images.range=[0, 4095]"
)

PIXELS_BROUGHT = (
    Case("floats in 0 to 1", _of(np.float32, divide=255.0), train=1, quarantined={"x.tif": "floating-point pixels (0"}),
    Case(
        "floats with their range",
        _of(np.float32, divide=255.0),
        train=2,
        notes=("1 images have more than 8 bits",),
        settings={"images": Images(range=(0.0, 1.0))},
    ),
    Case(
        "floats that are none",
        _not_finite,
        train=1,
        quarantined={"x.tif": "pixels that are NaN or infinite"},
        settings={"images": Images(range=(0.0, 255.0))},
    ),
    Case("32 bits", _of(np.int32, top=70000), train=1, quarantined={"x.tif": "32-bit signed integer pixels"}),
    Case("twelve bits in sixteen", _twelve_bits, train=3, notes=(_DARK,)),
    Case("twelve bits, said", _twelve_bits, train=3, settings={"images": Images(range=(0.0, 4095.0))}),
    Case(
        "a range that cuts",
        _twelve_bits,
        train=3,
        notes=("values outside images.range (",),
        settings={"images": Images(range=(0.0, 1000.0))},
    ),
    Case("several pages", _pages, train=3, notes=("x.tif: 3 pages or frames", "x.webp: 3 pages", "y.png: 3 pages")),
    Case(
        "other formats under these names",
        _renamed,
        train=1,
        quarantined=dict.fromkeys(("eps.png", "gif.png", "ppm.jpg"), "not an image file (PNG, JPEG, BMP, TIFF, WEBP)"),
    ),
    Case(
        "damaged files",
        _damaged,
        train=1,
        quarantined={
            "cut.jpg": "truncated",
            "empty.png": "empty file",
            "text.png": "not an image file",
            "head.png": "not an image file",
        },
    ),
    Case("a huge image", _huge, train=1, quarantined={"huge.png": "14000 x 14000 pixels, more than 180,000,000"}),
    Case(
        "a large file",
        _huge,
        train=1,
        quarantined={"huge.png": "more than 5,000 bytes (images.max_bytes)"},
        settings={"images": Images(max_bytes=5000)},
    ),
    Case("every mode", _modes, train=5, quarantined={"lab.tif": "pixels of mode LAB"}),
    Case(
        "masks beside the images",
        _masks_beside,
        train=2,
        ignored={"1.png": "the mask of 1.jpg: nearly black and white", "2.png": "the mask of 2.jpg"},
    ),
    Case(
        "masks by their suffix",
        _masks_by_suffix,
        free=4,
        ignored={f"crack/{name}.png": "the mask of" for name in ("1_mask", "2_GT", "3-mask")},
        masks={
            "crack/1.png": "crack/1_mask.png",
            "crack/2.png": "crack/2_GT.png",
            "crack/3.png": "crack/3-mask.png",
        },
    ),
    Case("black and white images", _backlit, train=2),
    Case(
        "thumbnails and a contact sheet",
        _thumbnails,
        train=3,
        ignored={
            "1_thumb.png": "a thumbnail (24 x 20 pixels)",
            "thumb_2.jpg": "a thumbnail",
            "overview.png": "a contact sheet",
        },
    ),
    Case("an image of another size", _odd_size, train=4, notes=("4.png: 12 x 10 pixels, where most",)),
)
