"""Digests of files, and of the rows of tables that people or databases keep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from irp_core.errors import InputError

__all__ = ["altered_files", "file_md5", "file_sha256", "row_digest"]


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes: weights, tables, archives.

    Raises:
        InputError: the file cannot be read.
    """
    return _digest(path, "sha256")


def altered_files(folder: Path, noted: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The files below `folder` that are not as `noted` (name → sha256), each with "is gone" or "was changed".

    Example:
        >>> list(altered_files(Path("no such folder"), {"a.parquet": "00"}))
        [('a.parquet', 'is gone')]
    """
    for name, sha256 in noted.items():
        if not (folder / name).is_file():
            yield name, "is gone"
        elif file_sha256(folder / name) != sha256:
            yield name, "was changed"


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


def row_digest(*values: Any) -> bytes:
    """Digest (16 bytes) of a row's values.

    Example:
        >>> row_digest("a.png", 7) == row_digest("a.png", 7), row_digest("a.png", 7) == row_digest("a.png", 8)
        (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        digest.update(value if isinstance(value, bytes) else repr(value).encode("utf-8", "backslashreplace"))
        digest.update(b"\0")
    return digest.digest()


def _digest(path: Path, algorithm: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
