"""What of a folder is not trained on, or is odd, in sentences: the terminal and the report say the same."""

from __future__ import annotations

import pandas as pd

from irp_core.run.files import DUPLICATES, IGNORED, NEAR_COPIES, NOTES, QUARANTINE
from irp_core.run.prepared import PreparedSet

__all__ = ["left_out"]

_NAMES = 8  # of a group; the table has all


def left_out(prepared: PreparedSet) -> dict[str, list[str]]:
    """The table that has them all → a line per quarantined file, note, group of copies, reason to ignore files."""
    notes = prepared.notes().to_dict("records")
    ignored = prepared.ignored()
    by_reason = ignored.groupby("reason").agg(files=("files", "sum"), first=("path", "first")).reset_index()
    by_reason = by_reason.sort_values(["files", "reason"], ascending=[False, True])
    return {
        QUARANTINE: [
            f"Quarantined: {row['image_id']} ({row['reason']})" for row in prepared.quarantine().to_dict("records")
        ],
        NOTES: [
            f"Note: {row['image_id']}: {row['note']}" if pd.notna(row["image_id"]) else f"Note: {row['note']}"
            for row in notes
        ],
        DUPLICATES: _groups("Same content", prepared.duplicates(), "md5"),
        NEAR_COPIES: _groups("Near-copies", prepared.near_copies(), "group"),
        IGNORED: [
            f"Ignored: {row['files']} file{'s' * (row['files'] != 1)}, {row['reason']} (for example {row['first']})"
            for row in by_reason.to_dict("records")
        ],
    }


def _groups(name: str, table: pd.DataFrame, column: str) -> list[str]:
    """A line with the counts, then a line per group, the largest first."""
    groups = sorted((list(group["image_id"]) for _, group in table.groupby(column)), key=lambda ids: (-len(ids), ids))
    if not groups:
        return []
    images = sum(map(len, groups))
    counts = (
        f"{name}: {images} images in {len(groups)} group{'s' * (len(groups) != 1)}; a group shares a fold and a vote"
    )
    return [counts, *(f"{name}: {_some(ids)}" for ids in groups)]


def _some(image_ids: list[str]) -> str:
    more = len(image_ids) - _NAMES
    return ", ".join(image_ids[:_NAMES]) + (f" and {more} more" if more > 0 else "")
