"""`irp line demo`: the first nights of a made line, told as they happen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flows.cli.session import prefect_session
from irp_core.errors import InputError

__all__ = ["line_demo"]


def line_demo(
    folder: Annotated[Path, typer.Option(help="Where the made line goes.")] = Path("line-demo"),
) -> None:
    """Live through the first nights of a made line: promoted, refused, rolled back, and all of it on record."""
    console = Console()
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: expected no folder, or an empty one; name another with --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for command in (["git", "init", "-q", "."], [sys.executable, "-m", "dvc", "init", "-q"]):
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise InputError(f"{folder}: {' '.join(command[-3:])} failed ({made.stderr.strip()}).")
    with prefect_session():
        from flows.line.story import tell_story

        for chapter in tell_story(folder):
            console.print(f"[bold]{chapter.title}[/bold]  ({chapter.seconds:.1f} s)", highlight=False, soft_wrap=True)
            console.print(f"  {escape(chapter.said)}", highlight=False, soft_wrap=True)
    from contextlib import chdir

    from flows.terminal.audit import write_answer
    from irp_core.line.definition import line_params, load_line
    from tasks.audit.lines import describe_line

    with chdir(folder):
        facts, events = describe_line("line3", line_params(load_line("line3", Path()), Path()))
        write_answer(facts, events[["at", "event", "version", "replaced", "by", "why"]], "table", "Events", "events")
    console.print(f"[bold]Next[/bold]  cd {folder}; irp line status line3; irp audit model line3@champion")
