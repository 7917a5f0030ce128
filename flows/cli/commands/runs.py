"""`irp runs` and `irp show`: the runs, and one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import As, Format, Overrides, ParamsFile, Quiet, Run, find_run, read_params
from irp_core.errors import InputError

__all__ = ["runs", "show"]


def runs(as_: As = Format.table, params: ParamsFile = None, set_param: Overrides = None, quiet: Quiet = False) -> None:
    """List the runs, newest first; with --quiet their ids alone."""
    from irp_core.run.glance.overview import as_table, overview

    found = overview(Path(read_params(params, set_param).run.directory))
    if quiet and as_ is Format.table:
        print("\n".join(line.run_id for line in found))
    elif as_ is Format.table:
        from flows.terminal.runs import show_runs

        show_runs(Console(), found)
    else:
        from flows.terminal.answer import write_rows

        write_rows(as_table(found), as_.value, "runs")


def show(
    run: Run,
    removed: Annotated[bool, typer.Option("--removed", help="List the removed images too.")] = False,
    as_: As = Format.table,
    quiet: Quiet = False,
) -> None:
    """Show a run: iterations, why it stopped, where everything lies; with --removed every removed image."""
    from flows.terminal.answer import write_rows
    from flows.terminal.run import show_removed, show_run
    from irp_core.run.lasting import check_results

    opened = find_run(run)
    if not opened.has_results():
        raise InputError(f"{run}: is not finished; go on with `irp refine --resume {opened.path}`.")
    check_results(opened)
    if as_ is not Format.table:
        table, kind = (opened.removals(), "removals") if removed else (opened.iterations(), "iterations")
        write_rows(table, as_.value, kind, {"run": opened.run_id, **opened.summary()})
        return
    if quiet:
        print(opened.path)
        return
    console = Console()
    if removed:
        show_removed(console, opened)
    show_run(console, opened)
