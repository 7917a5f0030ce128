"""The page of a comparison: what speaks for and against a challenger, with the images that it decides differently.

One self-contained HTML file, like a run's page: it works offline and loads nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from irp_core.config import Images
from irp_core.promotion import Comparison
from irp_core.report.html import write_html
from irp_core.report.thumbnails import thumbnail_uri

__all__ = ["write_comparison_page"]

_TEMPLATE = Path(__file__).parent / "templates" / "comparison.html"
_SHOWN = 240  # images; about 8 KB each keeps the page under 3 MB
_THUMBNAIL = 176  # pixels


def write_comparison_page(
    comparison: Comparison,
    output: Path,
    *,
    line: str,
    find: Callable[[str, str], Path | None],
    images: Images | None = None,
    facts: Mapping[str, str] | None = None,
    commands: tuple[str, ...] = (),
) -> Path:
    """Write the page; returns `output`.

    Args:
        line: name of the line.
        find: (image_id, md5) → the file with this content, or None where it is no longer had.
        images: how the line's images are read (their scale); default: as by default.
        facts: what else belongs to the comparison, e.g. `run`, `data set`, `compared`: shown as a table.
        commands: what a person types to decide, where a decision is open.
    """
    settings = images or Images()
    rows = comparison.flips.head(_SHOWN).to_dict("records")
    return write_html(
        _TEMPLATE,
        output,
        {"figure": lambda v: "–" if v is None or pd.isna(v) else f"{v:.3g}"},
        line=line,
        comparison=comparison,
        checks=comparison.checks.to_dict("records"),
        counts=comparison.checks["verdict"].value_counts().to_dict(),
        flips=[
            row | {"thumbnail": thumbnail_uri(find(row["image_id"], row["md5"]), settings, _THUMBNAIL)} for row in rows
        ],
        left_out=max(0, len(comparison.flips) - _SHOWN),
        facts=dict(facts or {}),
        commands=commands,
    )
