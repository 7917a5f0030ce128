"""What of a folder is not trained on, and why: said for a prepared set and for a run, before anyone has to ask."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from irp_core.data.by_folder import COUNTS, counts_by_folder
from irp_core.run.files import DUPLICATES, IGNORED, NEAR_COPIES, NOTES, QUARANTINE
from irp_core.run.prepared import PreparedSet

__all__ = ["show_folders", "show_left_out"]

_LINES = 20  # of each kind; the tables have all


def show_left_out(console: Console, prepared: PreparedSet) -> None:
    """Quarantined files, what is odd about the set, copies, near-copies, and the ignored files by reason."""
    lines = [f"Quarantined: {row['image_id']} ({row['reason']})" for row in prepared.quarantine().to_dict("records")]
    _print(console, lines, QUARANTINE)
    notes = prepared.notes().to_dict("records")
    about = [(f"{row['image_id']}: " if pd.notna(row["image_id"]) else "") + row["note"] for row in notes]
    _print(console, [f"Note: {text}" for text in about], NOTES)
    for name, table, column, file in (
        ("Same content", prepared.duplicates(), "md5", DUPLICATES),
        ("Near-copies", prepared.near_copies(), "group", NEAR_COPIES),
    ):
        lines = [f"{name}: {', '.join(group['image_id'])}" for _, group in table.groupby(column)]
        _print(console, lines, file)
    ignored = prepared.ignored()
    by_reason = ignored.groupby("reason").agg(files=("files", "sum"), first=("path", "first")).reset_index()
    by_reason = by_reason.sort_values(["files", "reason"], ascending=[False, True])
    lines = [
        f"Ignored: {row['files']} file{'s' * (row['files'] != 1)}, {row['reason']} (for example {row['first']})"
        for row in by_reason.to_dict("records")
    ]
    _print(console, lines, IGNORED, style="")


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


def _print(console: Console, lines: list[str], file: str, style: str = "yellow") -> None:
    for line in lines[:_LINES]:
        console.print(escape(line), style=style, highlight=False, soft_wrap=True)
    if len(lines) > _LINES:
        console.print(f"and {len(lines) - _LINES} more in {file}", style=style, highlight=False)
