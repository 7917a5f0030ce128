"""A table in the terminal: words to the left, numbers to the right."""

from __future__ import annotations

from rich import box
from rich.table import Table

__all__ = ["plain_table"]

_WORDS = ("image", "method", "run", "rule", "decision", "reviewer", "label", "measure")


def plain_table(title: str, *columns: str) -> Table:
    """A table without rows."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right")
    return table
