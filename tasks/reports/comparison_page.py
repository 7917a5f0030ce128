"""The page of a comparison: what speaks for and against a challenger, with the images that it decides differently.

One self-contained HTML file, like a run's page: it works offline and loads nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from irp_core.config import Images
from irp_core.localisation.rendering import colour_stops
from irp_core.promotion import Comparison
from irp_core.report.html import write_html
from irp_core.report.thumbnails import as_jpeg, jpeg_uri, thumbnail_uri

__all__ = ["COMPARED", "flips_shown", "write_comparison_page"]

_TEMPLATE = Path(__file__).parent / "templates" / "comparison.html"
_SHOWN = 240  # images; about 8 KB each, and as much for the map, keeps the page under 6 MB
COMPARED = 176
"""Side of a thumbnail, in pixels."""


def flips_shown(comparison: Comparison) -> list[dict[str, Any]]:
    """The images on the page, a row each."""
    rows: list[dict[str, Any]] = comparison.flips.head(_SHOWN).to_dict("records")
    return rows


def write_comparison_page(
    comparison: Comparison,
    output: Path,
    *,
    line: str,
    find: Callable[[str, str], Path | None],
    images: Images | None = None,
    overlays: Mapping[str, Image.Image] | None = None,
    facts: Mapping[str, str] | None = None,
    commands: tuple[str, ...] = (),
) -> Path:
    """Write the page; returns `output`.

    Args:
        line: name of the line.
        find: (image_id, md5) → the file with this content, or None where it is no longer had.
        images: how the line's images are read (their scale); default: as by default.
        overlays: image_id → the image with the challenger's map, in the size of a thumbnail.
        facts: what else belongs to the comparison, e.g. `run`, `data set`, `compared`: shown as a table.
        commands: what a person types to decide, where a decision is open.
    """
    settings = images or Images()
    rows, shown = flips_shown(comparison), overlays or {}
    return write_html(
        _TEMPLATE,
        output,
        {"figure": lambda v: "–" if v is None or pd.isna(v) else f"{v:.3g}"},
        line=line,
        comparison=comparison,
        checks=comparison.checks.to_dict("records"),
        counts=comparison.checks["verdict"].value_counts().to_dict(),
        flips=[
            row
            | {
                "thumbnail": thumbnail_uri(find(row["image_id"], row["md5"]), settings, COMPARED),
                "map": jpeg_uri(as_jpeg(shown[row["image_id"]])) if row["image_id"] in shown else None,
            }
            for row in rows
        ],
        maps={"stops": colour_stops()} if shown else None,
        left_out=max(0, len(comparison.flips) - _SHOWN),
        facts=dict(facts or {}),
        commands=commands,
    )
