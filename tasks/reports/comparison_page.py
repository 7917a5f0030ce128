"""The page of a comparison: what speaks for and against a challenger, with the images that it decides differently.

One self-contained HTML file, like a run's page: it works offline and loads nothing from elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from irp_core.atomic import atomic_path
from irp_core.config import Images
from irp_core.promotion import Comparison
from tasks.reports.thumbnails import jpeg

__all__ = ["write_comparison_page"]

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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda v: "–" if v is None or pd.isna(v) else f"{v:.3g}"
    page = environment.get_template("comparison.html").render(
        line=line,
        comparison=comparison,
        checks=comparison.checks.to_dict("records"),
        counts=comparison.checks["verdict"].value_counts().to_dict(),
        flips=[row | {"thumbnail": _thumbnail(find(row["image_id"], row["md5"]), settings)} for row in rows],
        left_out=max(0, len(comparison.flips) - _SHOWN),
        facts=dict(facts or {}),
        commands=commands,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return output


def _thumbnail(file: Path | None, images: Images) -> Any:
    small = jpeg(file, _THUMBNAIL, images) if file else None
    return None if small is None else "data:image/jpeg;base64," + base64.b64encode(small).decode()
