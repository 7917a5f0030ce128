"""`irp runs` and `irp show`: the runs, and one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import Overrides, ParamsFile, read_params
from irp_core.errors import InputError

__all__ = ["runs", "show"]


def runs(params: ParamsFile = None, set_param: Overrides = None) -> None:
    """List the runs, newest first."""
    console = Console()
    from flows.terminal.run import show_runs
    from irp_core.run.overview import overview

    show_runs(console, overview(Path(read_params(params, set_param).run.directory)))


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    removed: Annotated[bool, typer.Option("--removed", help="List the removed images too.")] = False,
) -> None:
    """Show a run: iterations, why it stopped, where everything lies; with --removed every removed image."""
    console = Console()
    from flows.terminal.run import show_removed, show_run
    from irp_core.run.directory import open_run

    opened = open_run(run)
    if not opened.has_results():
        raise InputError(f"{run}: is not finished; go on with `irp refine --resume {run}`.")
    if removed:
        show_removed(console, opened)
    show_run(console, opened)
