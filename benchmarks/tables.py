"""A benchmark's table on disk: rows are added as they are measured; a later run goes on where one was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from irp_core.atomic import atomic_path

__all__ = ["measured", "put_rows"]


def measured(path: Path, keys: Sequence[str]) -> pd.DataFrame:
    """The rows that there are; none, with the columns `keys`, before the first."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(keys))


def put_rows(path: Path, rows: pd.DataFrame, keys: Sequence[str], *, digits: int | None = 6) -> pd.DataFrame:
    """Write the table with `rows` in it, in the place of those with the same `keys`; whole, or not at all.

    Args:
        digits: of a number; None: as many as it has.

    Returns:
        The whole table.
    """
    before = measured(path, keys)
    if len(before):
        own = set(rows[list(keys)].itertuples(index=False, name=None))
        other = [row not in own for row in before[list(keys)].itertuples(index=False, name=None)]
        rows = pd.concat([before[other], rows], ignore_index=True) if any(other) else rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        shown = f"%.{digits}g" if digits else None
        rows.to_csv(temporary, index=False, float_format=shown, lineterminator="\n")
    return rows
