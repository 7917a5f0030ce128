"""What of a folder is not trained on, and why: said for a prepared set and for a run, before anyone has to ask."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from irp_core.data.by_folder import COUNTS, counts_by_folder
from irp_core.results.left_out import left_out
from irp_core.run.files import IGNORED
from irp_core.run.prepared import PreparedSet

__all__ = ["show_folders", "show_left_out"]

_LINES = 20  # of each kind; the tables have all


def show_left_out(console: Console, prepared: PreparedSet, lines_each: int = _LINES) -> None:
    """Quarantined files, what is odd about the set, copies, near-copies, and the ignored files by reason."""
    for file, lines in left_out(prepared).items():
        style = "" if file == IGNORED else "yellow"
        for line in lines[:lines_each]:
            console.print(escape(line), style=style, highlight=False, soft_wrap=True)
        if len(lines) > lines_each:
            console.print(f"and {len(lines) - lines_each} more in {file}", style=style, highlight=False)


def show_folders(console: Console, prepared: PreparedSet) -> None:
    """The counts by folder."""
    counts = counts_by_folder(prepared.manifest(), prepared.quarantine(), prepared.ignored())
    table = Table(title="By folder", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("folder", overflow="fold")
    shown = [name for name in COUNTS if counts[name].any()]
    for name in shown:
        table.add_column(name, justify="right")
    for row in counts.head(_LINES).to_dict("records"):
        table.add_row(escape(row["folder"] or "."), *(str(row[name]) for name in shown))
    console.print(table)
    if len(counts) > _LINES:
        console.print(f"and {len(counts) - _LINES} folders more")
