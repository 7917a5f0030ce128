"""Read a file of a folder that someone else filled: inside of it, a regular one, no more of it than a stated bound.

A named pipe hangs who opens it, a device such as /dev/zero never ends, a disk image is larger than the memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from irp_core.errors import InputError

__all__ = ["leads_outside", "read_part", "read_regular", "shown"]


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes` bytes.

    Raises:
        InputError: no regular file, a larger one, or one that cannot be read; says why, not which file.
    """
    with _opened(path) as file:
        # The size of the file, not the bound, is asked for: so much memory is taken before anything is read.
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise _too_large(max_bytes)
        content = file.read(size + 1)
    if len(content) > max_bytes:
        raise _too_large(max_bytes)
    return content


def read_part(path: Path, offset: int, size: int, max_bytes: int) -> bytes:
    """`size` bytes, at most `max_bytes`, of a regular file.

    Raises:
        InputError: as `read_regular`, or the file ends before.
    """
    if size > max_bytes:
        raise _too_large(max_bytes)
    with _opened(path) as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise InputError(f"{path.name} ends before the image does")
    return content


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        # Without O_NONBLOCK the opening of a pipe waits for somebody who writes into it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InputError("no regular file")
            yield file
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _too_large(max_bytes: int) -> InputError:
    return InputError(f"more than {max_bytes:,} bytes (images.max_bytes)")


def leads_outside(name: str) -> bool:
    """Whether a path that somebody else wrote leads out of the folder below which it is meant.

    Example:
        >>> [leads_outside(name) for name in ("good/1.png", "../1.png", "/etc/1.png")]
        [False, True, True]
    """
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def shown(path: str) -> str:
    """A file's name as text that every table and terminal can hold: what is no UTF-8 in it is written as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
