"""Progress of long steps: a bar on a terminal, elsewhere a line every ten seconds; nothing where quiet is asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["bar", "be_quiet", "is_quiet", "tell"]

_EVERY = 10.0  # seconds between two lines in a log


_quiet = False


def be_quiet(quiet: bool) -> None:
    """Show no progress from now on in this process, or show it again (`--quiet`)."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether the command was asked for its result alone."""
    return _quiet


def tell(sentence: str) -> None:
    """Say something about the progress, unless quiet is asked for."""
    if not is_quiet():
        print(sentence, file=sys.stderr, flush=True)


@contextmanager
def bar(description: str) -> Iterator[Callable[..., None]]:
    """Yield `advance(done, total, note="")`; the bar disappears when the step is over."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _nothing if is_quiet() else _lines(description)
        return
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
        transient=True,
        disable=is_quiet(),
    ) as progress:
        line = progress.add_task(description, total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            progress.update(line, completed=done, total=total, note=note)

        yield advance


def _nothing(done: int, total: int, note: str = "") -> None:
    pass


def _lines(description: str, clock: Callable[[], float] = time.monotonic) -> Callable[..., None]:
    """For a log or a pipe: how far the step is, and about how long it still takes."""
    started = last = clock()

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = clock()
        if now - last < _EVERY:
            return
        last = now
        left = f", about {(now - started) * (total - done) / done:.0f} s left" if 0 < done < total else ""
        said = f" ({note})" if note else ""
        print(f"{description}: {done} of {total} after {now - started:.0f} s{left}{said}", file=sys.stderr, flush=True)

    return advance
