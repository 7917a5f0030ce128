"""A table for programs: JSON or CSV on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd

from irp_core.text.spreadsheet import escaped

__all__ = ["records", "write_rows"]


def write_rows(table: pd.DataFrame, form: str, kind: str, facts: Mapping[str, Any] | None = None) -> None:
    """Write a table to standard output.

    Args:
        form: `csv` (the rows), or `json` (one object: the facts, and the rows under `kind`).
    """
    if form == "csv":
        escaped(table).to_csv(sys.stdout, index=False)
    else:
        print(json.dumps({**(facts or {}), kind: records(table)}, indent=2))


def records(table: pd.DataFrame) -> Any:
    """The rows as plain values; what is missing is null."""
    return json.loads(table.to_json(orient="records", double_precision=15, date_format="iso"))
