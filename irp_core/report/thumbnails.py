"""Small pictures of a run's images, for pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from irp_core.config import Images
from irp_core.errors import InputError
from irp_core.features.image_formats import decode
from irp_core.packed.images import image_md5, is_image, read_image
from irp_core.run.directory import RunDirectory

__all__ = ["THUMBNAIL", "Find", "as_jpeg", "jpeg", "jpeg_uri", "original", "thumbnail_uri"]

Find = Callable[[str, str], Path | None]
"""(image_id, md5) → the file with this content; None where it is no longer had."""

THUMBNAIL = 144
"""Side of a thumbnail, in pixels."""


def original(run: RunDirectory, image_id: str, md5: str) -> Path | None:
    """The image in the data set's folder, if it is still the one that the run read."""
    file = run.data_root() / image_id
    try:
        if is_image(file) and image_md5(file) == md5:
            return file
    except (OSError, InputError):  # a folder or a file that may not be read any more
        pass
    return None


def jpeg(path: Path, size: int, images: Images, quality: int = 80) -> bytes | None:
    """The image within a square of `size` pixels, in the run's scale; None where it cannot be read."""
    try:
        image = decode(read_image(path, images.max_bytes), images)
    except InputError:
        return None
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return as_jpeg(image, quality)


def as_jpeg(image: Image.Image, quality: int = 80) -> bytes:
    """An image's file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def thumbnail_uri(path: Path | None, images: Images, size: int = THUMBNAIL) -> str | None:
    """A thumbnail as a data URI, or None where the image is no longer there (a page outlives the data)."""
    return jpeg_uri(jpeg(path, size, images) if path else None)


def jpeg_uri(small: bytes | None) -> str | None:
    """A file's bytes as a data URI."""
    return None if small is None else "data:image/jpeg;base64," + base64.b64encode(small).decode()
