"""Progress of long steps: a bar on a terminal, nothing where there is none (logs go to Prefect)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["bar"]


@contextmanager
def bar(description: str) -> Iterator[Callable[..., None]]:
    """Yield `advance(done, total, note="")`; the bar disappears when the step is over."""
    console = Console(stderr=True)
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
        disable=not console.is_terminal,
    ) as progress:
        line = progress.add_task(description, total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            progress.update(line, completed=done, total=total, note=note)

        yield advance
