"""An auditor's answers: facts and rows, as tables for people or whole as JSON or CSV."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.terminal.answer import records, write_rows
from irp_core.audit.history import REMOVED_THEN_KEPT, TRAINED_ON_THEN_REMOVED
from irp_core.results.again import again
from irp_core.text.spreadsheet import escaped

if TYPE_CHECKING:
    from tasks.review.session import Review

__all__ = ["show_answers", "show_review", "write_answer", "write_supposition"]

_SHOWN = 40  # rows on a terminal; --format json|csv has them all
_STYLES = {
    "failed": "red",
    "ok": "green",
    "skipped": "yellow",
    "removed": "red",
    "removed_by_review": "red",
    "kept_by_review": "green",
    "restored": "green",
    # A later review's decision counts.
    REMOVED_THEN_KEPT: "green",
    TRAINED_ON_THEN_REMOVED: "red",
}
# What a person wants to know, per kind of answer; JSON and CSV have every column.
_COLUMNS = {
    "removed": ["image_id", "iteration", "score", "threshold", "rule", "decision", "reviewer", "label"],
    "history": [
        "run",
        "iteration",
        "trained_on",
        "score",
        "threshold",
        "decision",
        "rule",
        "reviewer",
        "registered_as",
    ],
    "difference": ["image_id", "only_in", "why", "iteration", "score", "threshold", "rule", "reviewer"],
    "images": ["iteration", "image_id", "score", "threshold", "threshold_then", "change", "label"],
    "findings": ["check", "where", "status", "detail"],
}
_NUMBERS = {"iteration", "score", "threshold", "threshold_then"}


def write_answer(facts: Mapping[str, Any], table: pd.DataFrame, form: str, title: str, kind: str) -> None:
    """Write an answer to standard output.

    Args:
        form: `table`, `json` (one object: the facts, and the rows under `kind`) or `csv` (the rows).
        title: of the table.
        kind: `removed`, `history`, `difference` or `findings`.
    """
    if form != "table":
        write_rows(table, form, kind, _plain(facts))
    else:
        console = _console()
        _print_facts(console, facts)
        _print_rows(console, table, title, kind)


def write_supposition(facts: Mapping[str, Any], iterations: pd.DataFrame, images: pd.DataFrame, form: str) -> None:
    """Write what another rule would have done: CSV has the images, JSON both tables."""
    if form == "csv":
        escaped(images).to_csv(sys.stdout, index=False)
    elif form == "json":
        print(json.dumps({**_plain(facts), "iterations": records(iterations), "images": records(images)}, indent=2))
    else:
        console = _console()
        _print_facts(console, facts)
        _print_rows(console, iterations, "Each round, on the scores that the run had", "iterations")
        different = images[images["change"] != "both"]
        _print_rows(console, different, "Images that only one of the two thresholds removes", "images")


def show_review(console: Console, review: Review) -> None:
    """What a review decided, and what to type next."""
    decisions = [row["decision"] for row in review.decisions().values()]
    kept, removed = decisions.count("kept_by_review"), decisions.count("removed_by_review")
    console.print(f"{len(decisions)} images decided: {kept} to keep, {removed} to remove.", highlight=False)
    approved = review.approved()
    if approved:
        console.print(f"Approved by {approved['reviewer']}, {approved['reviewed_at']}.", highlight=False)
    standing = review.run.params().review.decisions
    if decisions and standing:
        console.print(f"Every later run respects them ({standing}).", highlight=False, soft_wrap=True)
    if len(against := review.contradictions()):
        console.print(f"{len(against)} of them change the training set; this trains on it:", highlight=False)
        console.print(f"[bold]Next[/bold]  {escape(again(review.run))}", highlight=False, soft_wrap=True)


def show_answers(console: Console, state: dict[str, Any], command: str) -> None:
    """What the answers say, and what to type next."""
    console.print(f"{state['answered']} of {state['count']} questions answered.", highlight=False)
    console.print(f"{state['removed']} images would be removed now.", highlight=False)
    for sentence in state["sentences"]:
        console.print(escape(sentence), highlight=False, soft_wrap=True)
    if state["answered"]:
        console.print(
            f"[bold]Next[/bold]  {escape(command)}   (it respects the answers)",
            highlight=False,
            soft_wrap=True,
        )


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 200)


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace(" ", "_"): value for name, value in facts.items()}


def _print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(f"[bold]{name}[/bold]", "–" if value is None else escape(str(value)))
    console.print(grid, highlight=False)


def _print_rows(console: Console, table: pd.DataFrame, title: str, kind: str) -> None:
    # An empty column takes no room.
    columns = [
        column
        for column in _COLUMNS.get(kind, list(table.columns))
        if kind == "findings" or table[column].notna().any()
    ]
    if table.empty:
        console.print(f"{title}: none.")
        return
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(
            column.replace("_", " "),
            justify="right" if column in _NUMBERS or kind == "iterations" else "left",
            overflow="fold",
        )
    for row in table.head(_SHOWN).to_dict("records"):
        shown.add_row(*(_cell(row[column]) for column in columns))
    console.print(shown)
    if len(table) > _SHOWN:
        console.print(f"… and {len(table) - _SHOWN} more rows (--format csv has them all).")


def _cell(value: Any) -> str:
    if value is None or pd.isna(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.3f}"
    text = str(value)
    style = _STYLES.get(text)
    return f"[{style}]{text.replace('_', ' ')}[/]" if style else escape(text)
