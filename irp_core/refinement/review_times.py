"""When decisions were made, as moments: texts in different zones or forms do not sort by time."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd

__all__ = ["in_order", "moment"]

_OLDEST = datetime.min.replace(tzinfo=UTC)


def moment(text: str | None) -> datetime:
    """The moment that an ISO 8601 text names, in UTC; without a zone it is in UTC; without a text, before all others.

    Raises:
        ValueError: no ISO 8601 date or time.

    Example:
        >>> moment("2026-03-01T09:00+02:00") < moment("2026-03-01 08:00Z")
        True
    """
    if not text:
        return _OLDEST
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"expected a time such as 2026-03-01T09:00+01:00 (ISO 8601), found {text!r}") from None


def in_order(events: pd.DataFrame) -> pd.DataFrame:
    """Events by their moment (`reviewed_at`), of equal ones in the order of the rows."""
    moments = [moment(None if pd.isna(text) else str(text)) for text in events["reviewed_at"]]
    return events.iloc[sorted(range(len(moments)), key=moments.__getitem__)]
