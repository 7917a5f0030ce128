"""Write whole files or none: temporary sibling, fsync, rename; what a kill leaves is swept up by the next writer."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from irp_core.errors import InputError

__all__ = ["atomic_directory", "atomic_path", "read_json", "read_json_object", "write_json"]

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")  # as `tempfile` names them
_IN_THE_MAKING = 60  # seconds: so long a temporary one may be without its lock
_SWEPT: set[Path] = set()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and takes `path`'s place.

    A symbolic link stays one: what it leads to is replaced. A file that was there keeps its permissions.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "scores.csv") as temporary:
        ...         _ = temporary.write_text("whole or not at all")
        ...         before = (Path(folder) / "scores.csv").exists()
        ...     before, (Path(folder) / "scores.csv").read_text()
        (False, 'whole or not at all')
    """
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with _claimed(handle):
            yield temporary
            _flush(temporary)
            # mkstemp makes files private; a result is as readable as any other file of the user.
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
            temporary.chmod(mode)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory that takes `path`'s place (replacing what was there) on success."""
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    temporary, former = (
        Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")) for _ in range(2)
    )
    try:
        with _claimed(os.open(temporary, os.O_RDONLY)):
            yield temporary
            for file in [*temporary.rglob("*"), temporary]:
                _flush(file)
            temporary.chmod(0o777 & ~_umask())
            if path.exists():
                path.replace(former)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def _flush(path: Path) -> None:
    """See to it that a file, or the names in a folder, are on the disk."""
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot flush a folder
            raise
    finally:
        os.close(handle)


@contextmanager
def _claimed(handle: int) -> Iterator[None]:
    """Hold a lock on a temporary file or folder: the system gives it back when its owner is killed."""
    try:
        with suppress(OSError):  # a file system without locks: then nothing is swept there, either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Delete what killed processes left in a folder; looked at once per process."""
    if folder in _SWEPT:
        return
    _SWEPT.add(folder)
    for left in folder.glob(".*.tmp"):
        with suppress(OSError):  # gone meanwhile, or in use
            if not _TEMPORARY.fullmatch(left.name) or time.time() - left.stat().st_mtime < _IN_THE_MAKING:
                continue
            handle = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            finally:
                os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it cannot be read, or is not JSON (cut short, another encoding, nested beyond measure).
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{path}: expected a JSON file, found one that is damaged ({reason}).") from None


def read_json_object(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON file that must hold an object with `keys`.

    Raises:
        InputError: as `read_json`, or it holds something else.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "plate.json", {"side": 64})
        ...     read_json_object(Path(folder) / "plate.json", "side")
        {'side': 64}
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(found).__name__}.")
    if missing := [key for key in keys if key not in found]:
        raise InputError(f"{path}: expected the key {missing[0]!r}, found {sorted(found)}.")
    return found


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
