"""Small pictures of a run's images, for pages: from the data's folder, else from DVC's cache."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from irp_core.config import Images
from irp_core.errors import InputError
from irp_core.features.image_formats import decode
from irp_core.hashing import file_md5
from irp_core.regular_file import read_regular
from irp_core.run.directory import RunDirectory

__all__ = ["image_file", "jpeg", "thumbnail_uri"]

_THUMBNAIL = 144  # pixels


def image_file(run: RunDirectory, image_id: str, md5: str) -> Path | None:
    """Where the image with this content lies on this machine; None where it is no longer had."""
    original = run.data_root() / image_id
    try:
        if original.is_file() and file_md5(original) == md5:
            return original
    except (OSError, InputError):  # a folder or a file that may not be read any more
        pass
    from tasks.versions.snapshots import cached_file  # imports DVC, which most pages never need

    return cached_file(md5)


def jpeg(path: Path, size: int, images: Images, quality: int = 80) -> bytes | None:
    """The image within a square of `size` pixels, in the run's scale; None where it cannot be read."""
    try:
        image = decode(read_regular(path, images.max_bytes), images)
    except InputError:
        return None
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def thumbnail_uri(run: RunDirectory, image_id: str, md5: str) -> str | None:
    """A thumbnail as a data URI, or None where the image is no longer there (a page outlives the data)."""
    path = image_file(run, image_id, md5)
    small = jpeg(path, _THUMBNAIL, run.params().images) if path else None
    return None if small is None else "data:image/jpeg;base64," + base64.b64encode(small).decode()
