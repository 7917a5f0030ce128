"""Text from people in CSV files: a spreadsheet that opens one must not take a cell for a formula and run it.

Cells that begin with `=`, `+`, `-`, `@`, a tab or a carriage return get an apostrophe before them, as spreadsheets
themselves mark text; reading takes it away again (OWASP, CSV injection).
"""

from __future__ import annotations

import pandas as pd

__all__ = ["escaped", "unescaped"]

_FORMULA = tuple("=+-@\t\r")


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """A copy whose texts no spreadsheet takes for a formula; numbers stay as they are.

    Example:
        >>> notes = pd.DataFrame({"note": ["=1+1", "'=1", "a = b", None], "score": [-1.0, 2.0, 3.0, 4.0]})
        >>> escaped(notes)["note"].tolist()[:3]
        ["'=1+1", "''=1", 'a = b']
        >>> unescaped(escaped(notes))["note"].tolist()[:3] == notes["note"].tolist()[:3]
        True
    """
    return table.map(lambda value: f"'{value}" if _is_formula(value) else value)


def unescaped(table: pd.DataFrame) -> pd.DataFrame:
    """The table that `escaped` was given."""
    return table.map(lambda value: value[1:] if _is_formula(value) and value.startswith("'") else value)


def _is_formula(value: object) -> bool:
    return isinstance(value, str) and value.lstrip("'").startswith(_FORMULA)
