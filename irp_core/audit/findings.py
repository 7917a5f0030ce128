"""What came of a check, and how differences between tables are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

__all__ = ["Finding", "finding", "names", "row_differences"]

_SHOWN = 5  # images named per finding


@dataclass(frozen=True)
class Finding:
    """One check and what came of it: `ok`, `failed`, or `skipped` because it cannot be done here."""

    check: str
    where: str
    status: str
    detail: str


def finding(check: str, where: str, wrong: list[str], good: str) -> Finding:
    return Finding(check, where, "failed" if wrong else "ok", "; ".join(wrong) if wrong else good)


def names(what: str, images: Iterable[str]) -> list[str]:
    found = sorted(images)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [f"{what}: {', '.join(found[:_SHOWN])}{more}"] if found else []


def row_differences(expected: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """Images whose rows differ between two tables of the same columns, whatever the order of the rows.

    Example:
        >>> logged = pd.DataFrame({"image_id": ["a.png", "b.png"], "score": [1.0, 2.0]})
        >>> row_differences(logged, logged.assign(score=[1.0, 9.0]))
        ['rows changed: b.png']
    """
    ours, theirs = _rows_by_image(expected), _rows_by_image(found)
    changed = [name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]
    return [
        *names("rows missing", ours.keys() - theirs.keys()),
        *names("rows too many", theirs.keys() - ours.keys()),
        *names("rows changed", changed),
    ]


def _rows_by_image(table: pd.DataFrame) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    plain = table.astype(object).where(table.notna(), None)
    for row in plain.itertuples(index=False):
        rows.setdefault(row.image_id, []).append(repr(tuple(row)))
    return {name: sorted(values) for name, values in rows.items()}
