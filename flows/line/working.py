"""What every flow of a line begins with: the project's folder, the line's definition, and its lock."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.line.definition import line_params, load_line
from irp_core.line.folder import LineFolder
from tasks.runtime.one_at_a_time import one_at_a_time

__all__ = ["alone", "at_work", "opened"]


@contextmanager
def opened(name: str, project: str) -> Iterator[tuple[Line, Params]]:
    """Inside, the project's folder is the current one: all paths of a line are relative to it.

    Raises:
        InputError: no such folder, or no such line.
    """
    if not Path(project).is_dir():
        raise InputError(f"{project}: expected the project's folder, found none.")
    with contextlib.chdir(project):
        line = load_line(name, Path())
        yield line, line_params(line, Path())


@contextmanager
def alone(line: Line, waiting: Callable[[str], None] = lambda said: None) -> Iterator[None]:
    """One round of a line at a time: a second one waits until the first has ended, however that ends.

    Args:
        waiting: told once that another round is at work.
    """
    folder = LineFolder(line.name).make()
    note = _note(line)

    def say() -> None:
        waiting(f"waits for the round of {line.name} that {at_work(line) or 'another process'} began")

    with one_at_a_time(folder.round_lock, say):
        try:
            note.write_text(json.dumps({"pid": os.getpid(), "since": time.time()}), encoding="utf-8")
            yield
        finally:
            note.unlink(missing_ok=True)


def at_work(line: Line) -> str | None:
    """Who is at work on a round of the line, in words; None: nobody."""
    lock = FileLock(LineFolder(line.name).make().round_lock)
    try:
        lock.acquire(timeout=0)
        lock.release()
        return None
    except Timeout:
        pass
    try:
        known = json.loads(_note(line).read_text(encoding="utf-8"))
        return f"process {known['pid']} since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(known['since']))}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _note(line: Line) -> Path:
    return LineFolder(line.name).path / ".round.json"
