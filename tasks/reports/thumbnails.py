"""Small pictures of a run's images: from the data's folder, else from DVC's cache."""

from __future__ import annotations

from pathlib import Path

from irp_core.report import thumbnails
from irp_core.report.thumbnails import as_jpeg, jpeg, original
from irp_core.run.directory import RunDirectory

__all__ = ["as_jpeg", "image_file", "jpeg", "thumbnail_uri"]


def image_file(run: RunDirectory, image_id: str, md5: str) -> Path | None:
    """Where the image with this content lies on this machine; None where it is no longer had."""
    if (found := original(run, image_id, md5)) is not None:
        return found
    from tasks.versions.packed import cached_image  # imports DVC, which most pages never need

    version = run.snapshot(0)
    return cached_image(version["md5"] if version else None, md5)


def thumbnail_uri(run: RunDirectory, image_id: str, md5: str) -> str | None:
    """A thumbnail as a data URI, or None where the image is no longer there (a page outlives the data)."""
    return thumbnails.thumbnail_uri(image_file(run, image_id, md5), run.params().images)
