"""The list of runs in the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape

from flows.terminal.tables import plain_table
from irp_core.run.glance.overview import Line

__all__ = ["show_runs"]


def show_runs(console: Console, runs: list[Line]) -> None:
    """One line per run; those that cannot be read are named below with the reason."""
    table = plain_table("Runs", "run", "created (UTC)", "it.", "removed", "AUROC")
    # An id is what other commands take: the other columns give way, never it.
    table.columns[0].no_wrap = True
    table.columns[0].min_width = max((len(run.run_id) for run in runs), default=0)
    for run in runs:
        if run.problem is not None:
            table.add_row(escape(run.run_id), "–", "–", "unreadable", "–", style="yellow")
            continue
        end = ("–", "unfinished", "–")
        if run.end is not None:
            iterations, removed, start, auroc = run.end
            end = (str(iterations), f"{removed}/{start}", "–" if math.isnan(auroc) else f"{auroc:.3f}")
        table.add_row(escape(run.run_id), run.created.removesuffix("+00:00").replace("T", " ")[:16], *end)
    console.print(table)
    for problem in (run.problem for run in runs if run.problem is not None):
        console.print(escape(problem), style="yellow", highlight=False, soft_wrap=True)
