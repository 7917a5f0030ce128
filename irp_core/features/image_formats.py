"""Image files to pixels: which formats are read, which pixel values become black and white, and what is refused.

What is not understood is refused, never guessed: a scale that is taken from each image would hide lighting faults, and
a wrong one turns a whole set black or white. So images of 16 bits have the scale of their format, and pixels whose
values say nothing about black and white (32 bits, floating point, signed) need one: `images.range`, the same
for the whole set.
"""

from __future__ import annotations

import io
import threading
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from irp_core.config import Images
from irp_core.errors import InputError

__all__ = ["FORMATS", "Decoded", "decode", "decode_mask", "decode_with_facts", "orientation_of"]

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Pillow is asked for no other: not for EPS, which would start Ghostscript."""
_DEFAULTS = Images()
_EIGHT_BITS = ("1", "L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
_PILLOWS_LIMIT = threading.Lock()
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339  # tags of TIFF
_ORIENTATION = 0x0112  # of EXIF


@dataclass(frozen=True)
class Decoded:
    """An image, and what is worth knowing of its file.

    Attributes:
        image: 8-bit RGB, upright.
        bits: per sample, as stored.
        lowest, highest: stored values of the darkest and the brightest pixel (of 16-bit colour in steps of 256).
        white: the stored value that becomes white.
        pages: pages or frames of the file, of which the first is the image.
    """

    image: Image.Image
    bits: int
    lowest: float
    highest: float
    white: float
    pages: int


@dataclass(frozen=True)
class _Stored:
    """An image as it is stored, all rows read, upright."""

    image: Image.Image
    bits: int
    signed: bool
    pages: int


def decode(content: bytes, images: Images = _DEFAULTS) -> Image.Image:
    """Decode an image file to 8-bit RGB, upright.

    16-bit images keep the upper 8 bits, or are scaled from `images.range`, which 32-bit, floating-point and signed
    images need. Transparency is dropped; EXIF orientation is applied; of several pages the first is read.

    Raises:
        InputError: not an image of `FORMATS`, damaged, larger than `images.max_pixels`, or of pixels without a scale.
    """
    return decode_with_facts(content, images).image


def decode_with_facts(content: bytes, images: Images = _DEFAULTS) -> Decoded:
    """As `decode`, with what the file says besides its pixels."""
    stored = _load(content, images)
    image = stored.image
    if image.mode.startswith(("I", "F")):
        return _scaled(stored, images)
    if image.mode not in _EIGHT_BITS:
        raise InputError(f"pixels of mode {image.mode}, which is not read")
    if images.range is not None and stored.bits > 8:
        raise InputError(f"{stored.bits}-bit colour, of which only the upper 8 bits are read: images.range cannot hold")
    if image.mode in ("P", "PA", "LA", "La", "RGBa"):
        image = image.convert("RGBA")
    rgb = image.convert("RGB")
    extremes = [value for band in rgb.getextrema() for value in band]  # type: ignore[union-attr]
    step = 256 if stored.bits > 8 else 1
    lowest, highest = min(extremes) * step, max(extremes) * step
    return Decoded(rgb, stored.bits, lowest, highest, 255 * step, stored.pages)


def _scaled(stored: _Stored, images: Images) -> Decoded:
    """A grey image of more than 8 bits."""
    values = np.asarray(stored.image).astype(np.float64 if stored.image.mode == "F" else np.int64)
    if not np.isfinite(values).all():
        raise InputError("pixels that are NaN or infinite")
    lowest, highest = float(values.min()), float(values.max())
    if images.range is not None:
        black, white = images.range
        grey = ((values - black) * (255.0 / (white - black))).clip(0, 255).round().astype(np.uint8)
    elif stored.image.mode == "F" or stored.bits != 16 or stored.signed:
        kind = "floating-point" if stored.image.mode == "F" else f"{stored.bits}-bit {'signed ' * stored.signed}integer"
        raise InputError(
            f"{kind} pixels ({lowest:g} to {highest:g}), whose scale is not known: set images.range to the values "
            f"of black and white"
        )
    else:
        white = 65535.0
        grey = (values // 256).clip(0, 255).astype(np.uint8)
    return Decoded(Image.fromarray(grey).convert("RGB"), stored.bits, lowest, highest, white, stored.pages)


def decode_mask(content: bytes, images: Images = _DEFAULTS) -> NDArray[np.bool_]:
    """Decode a ground-truth mask: bool (height, width), True where the defect is.

    True is whatever exceeds half of the mask's own maximum: masks of 0 and 1 and of 0 and 255 are both
    found, and so are the magnetic tiles' masks, whose edges fade. Of a palette every index but 0 counts.

    Raises:
        InputError: not an image, damaged, or larger than `images.max_pixels`.
    """
    image = _load(content, images).image
    pixels = np.asarray(image)
    if image.mode == "P":
        pixels = pixels > 0
    if image.mode in ("LA", "PA", "RGBA"):
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    marked: NDArray[np.bool_] = pixels > pixels.max() / 2
    return marked


def orientation_of(content: bytes) -> int:
    """EXIF orientation (1 to 8) of the pixels as Pillow gives them; 1 where none is noted, or none can be read.

    Of TIFF it is 1: Pillow turns those upright by itself.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = _open(content)
            found = 1 if opened.format == "TIFF" else opened.getexif().get(_ORIENTATION, 1)
    except Exception:  # as in _load, which says what is wrong
        return 1
    return found if found in range(1, 9) else 1


def _load(content: bytes, images: Images) -> _Stored:
    if not content:
        raise InputError("empty file")
    try:
        with warnings.catch_warnings():
            # Palette transparency, odd EXIF: Pillow warns, and reads the pixels all the same.
            warnings.simplefilter("ignore")
            opened = _open(content)
            if opened.width * opened.height > images.max_pixels:
                raise InputError(
                    f"{opened.width} x {opened.height} pixels, more than {images.max_pixels:,} (images.max_pixels)"
                )
            bits, signed = _depth(opened, content)
            opened.load()
            return _Stored(ImageOps.exif_transpose(opened), bits, signed, _pages(content))
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"not an image file ({', '.join(FORMATS)})") from None
    except MemoryError:
        raise InputError("an image that is too large for this machine's memory") from None
    except Exception as error:  # Pillow's decoders raise OSError, ValueError, SyntaxError, struct.error …
        raise InputError(f"damaged image: {error}") from None


def _open(content: bytes) -> Image.Image:
    """Read the header. Pillow's own limit of pixels, which is the whole process's, gives way to `images.max_pixels`."""
    with _PILLOWS_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(content), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _depth(opened: Image.Image, content: bytes) -> tuple[int, bool]:
    """Bits per sample as stored, and whether samples have a sign."""
    if opened.format == "PNG":
        return content[24], False  # of IHDR, the first chunk
    if opened.format == "TIFF":
        tags = opened.tag_v2  # type: ignore[attr-defined]
        return max(tags.get(_BITS_PER_SAMPLE, (1,))), 2 in tags.get(_SAMPLE_FORMAT, (1,))
    return 8, False


def _pages(content: bytes) -> int:
    """Pages or frames; 1 where what follows the first is damaged."""
    try:
        return int(getattr(_open(content), "n_frames", 1))
    except Exception:  # as above; the first page was read
        return 1
