"""Digests of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from irp_core.errors import InputError

__all__ = ["file_md5", "file_sha256"]


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes: weights, tables, archives.

    Raises:
        InputError: the file cannot be read.
    """
    return _digest(path, "sha256")


def file_md5(path: Path) -> str:
    """MD5 (hex) of a file's bytes: what the manifest and DVC know an image by.

    Raises:
        InputError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     image = Path(folder) / "plate.png"
        ...     _ = image.write_bytes(b"pixels")
        ...     file_md5(image)
        'd399848208da8b80a306af0fd62bb03f'
    """
    return _digest(path, "md5")


def _digest(path: Path, algorithm: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
