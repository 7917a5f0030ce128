"""A digest beside each row of a file of decisions: a value that was changed since it was written is used by nobody.

Each row for itself: reviewers append at the same time and git merges their files, where two rows follow the same one.
What a person writes by hand has no digest until the next row is appended; of a row that is missing git tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from irp_core.hashing import row_digest

__all__ = ["DIGEST", "digest_column", "event_digest", "wrong_rows"]

DIGEST = "digest"
"""Name of the column."""

# With letters before it: of digits alone, or with an e among them, a spreadsheet would make another number.
_FORM = re.compile(r"row:[0-9a-f]{16}")


def event_digest(values: Sequence[str | None]) -> str:
    """Digest of an event's values, in the order of the columns; an empty one is none.

    Example:
        >>> event_digest(["a.png", "kept_by_review", None]) == event_digest(["a.png", "kept_by_review", ""])
        True
        >>> event_digest(["a.png", "removed_by_review", None])
        'row:7a1b9486fa5ff4dc'
    """
    texts = ((value or "").replace("\r\n", "\n").encode("utf-8", "backslashreplace") for value in values)
    return f"row:{row_digest(*texts).hex()[:16]}"


def digest_column(table: pd.DataFrame) -> str | None:
    """The column of digests, whatever became of its name; None: a file without.

    Raises:
        ValueError: the line of the names ran into the first row.
    """
    if any(_FORM.search(str(name)) for name in table.columns):
        raise ValueError("its first line is not only the names of the columns")
    if DIGEST in table.columns:
        return DIGEST
    found = [name for name in table.columns if table[name].map(lambda value: _is_digest(value)).any()]
    return str(found[-1]) if found else None


def wrong_rows(values: pd.DataFrame, digests: pd.Series) -> list[int]:
    """Positions of the rows that are not what their digest says. A row without one is right, unless a digest stands in
    another of its values: a separator before it was lost."""
    return [
        at
        for at, (row, digest) in enumerate(zip(values.itertuples(index=False), digests, strict=True))
        if (
            digest != event_digest(row)
            if isinstance(digest, str) and digest
            else any(isinstance(value, str) and _FORM.search(value) for value in row)
        )
    ]


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _FORM.fullmatch(value) is not None
