"""One process at a time: a second one says that it waits, and goes on when the first has ended, however that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["one_at_a_time"]


@contextmanager
def one_at_a_time(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `lock`, which the system gives back when its holder is killed.

    Args:
        waiting: called once where another process holds it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, one_at_a_time(Path(folder) / ".lock", lambda: print("waits")):
        ...     print("at work")
        at work
    """
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        waiting()
        held.acquire()
    try:
        yield
    finally:
        held.release()
