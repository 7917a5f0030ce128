"""An auditor's answers: facts and rows, as tables for people or whole as JSON or CSV."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["write_answer"]

_SHOWN = 40  # rows on a terminal; --format json|csv has them all
_STYLES = {
    "failed": "red",
    "ok": "green",
    "skipped": "yellow",
    "removed": "red",
    "removed_by_review": "red",
    "kept_by_review": "green",
    "restored": "green",
}
# What a person looks for, per kind of answer; JSON and CSV have every column.
_COLUMNS = {
    "removed": ["image_id", "iteration", "score", "threshold", "rule", "decision", "reviewer", "label"],
    "history": ["run", "iteration", "score", "threshold", "decision", "rule", "reviewer", "registered_as"],
    "difference": ["image_id", "only_in", "why", "iteration", "score", "threshold", "rule", "reviewer"],
    "findings": ["check", "where", "status", "detail"],
}
_TEXT = {"image_id", "run", "decision", "rule", "reviewer", "why", "detail", "check", "where", "label", "registered_as"}


def write_answer(facts: Mapping[str, Any], table: pd.DataFrame, form: str, title: str, kind: str) -> None:
    """Write an answer to standard output.

    Args:
        form: `table`, `json` (one object: the facts, and the rows under `kind`) or `csv` (the rows).
        title: of the table.
        kind: `removed`, `history`, `difference` or `findings`.
    """
    if form == "csv":
        table.to_csv(sys.stdout, index=False)
    elif form == "json":
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        print(json.dumps({**{name.replace(" ", "_"): value for name, value in facts.items()}, kind: rows}, indent=2))
    else:
        console = Console(width=None if sys.stdout.isatty() else 200)
        _print_facts(console, facts)
        _print_rows(console, table, title, kind)


def _print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(f"[bold]{name}[/bold]", "–" if value is None else str(value))
    console.print(grid, highlight=False)


def _print_rows(console: Console, table: pd.DataFrame, title: str, kind: str) -> None:
    # A column that says nothing takes no room.
    columns = [column for column in _COLUMNS[kind] if kind == "findings" or table[column].notna().any()]
    if table.empty:
        console.print(f"{title}: none.")
        return
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(column.replace("_", " "), justify="left" if column in _TEXT else "right", overflow="fold")
    for row in table.head(_SHOWN).to_dict("records"):
        shown.add_row(*(_cell(row[column]) for column in columns))
    console.print(shown)
    if len(table) > _SHOWN:
        console.print(f"… and {len(table) - _SHOWN} more rows (--format csv has them all).")


def _cell(value: Any) -> str:
    if value is None or pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.3f}"
    text = str(value)
    return f"[{_STYLES[text]}]{text.replace('_', ' ')}[/]" if text in _STYLES else text
