"""Write whole files or none: temporary sibling, fsync, rename."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from irp_core.errors import InputError

__all__ = ["atomic_directory", "atomic_path", "read_json", "read_json_object", "write_json"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and takes `path`'s place.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "scores.csv") as temporary:
        ...         _ = temporary.write_text("whole or not at all")
        ...         before = (Path(folder) / "scores.csv").exists()
        ...     before, (Path(folder) / "scores.csv").read_text()
        (False, 'whole or not at all')
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; a result is as readable as any other file of the user.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory that takes `path`'s place (replacing what was there) on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
