"""A self-contained page that says whether a detector in service still sees what it was commissioned on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from irp_core.config import Images
from irp_core.monitoring.drift import P_VALUE
from irp_core.monitoring.watched import Watched, alarm_began
from irp_core.report.html import svg, write_html
from irp_core.report.monitoring_figures import alarm_shares, health_over_time, scores_over_time
from irp_core.report.thumbnails import thumbnail_uri

__all__ = ["render_monitoring"]

_TEMPLATE = Path(__file__).parent / "templates" / "monitoring.html"
_TYPICAL, _HIGHEST = 6, 6  # pictures
_WINDOWS = 50  # the latest that are in the table


def render_monitoring(found: Watched, images: Images, output: Path, *, title: str) -> Path:
    """Write the page: verdict, figures, tests of each window, and pictures before and since; returns `output`.

    Args:
        images: how pictures are read for thumbnails.
        output: the HTML file.
        title: what is watched.
    """
    began = alarm_began(found.windows)
    last = None if not len(found.windows) else found.windows.to_dict("records")[-1]
    return write_html(
        _TEMPLATE,
        output,
        {"p": _p_value, "percent": lambda share: f"{100 * share:.0f} %", "fixed": lambda v: f"{v:.3g}"},
        title=title,
        found=found,
        began=began,
        last=last,
        reference_share=float((found.reference["decision"] == "anomalous").mean()) if len(found.reference) else None,
        rows=found.windows.tail(_WINDOWS).to_dict("records"),
        left_out=max(0, len(found.windows) - _WINDOWS),
        waiting=len(found.new) - found.size * len(found.windows),
        limit=P_VALUE,
        figures=[svg(draw(found)) for draw in (scores_over_time, alarm_shares, health_over_time)] if last else [],
        galleries=_galleries(found, began, images),
    )


def _galleries(found: Watched, began: Any, images: Images) -> list[dict[str, Any]]:
    """Pictures side by side: at commissioning, in the window that matters, and what stands out in it."""
    if not len(found.windows):
        return []
    number = int(began["window"] if began else found.windows["window"].iloc[-1])
    rows = found.rows(number)
    shown = (
        ("At commissioning: typical", _typical(found.reference)),
        (f"Window {number}: typical", _typical(rows)),
        (f"Window {number}: the highest scores", rows.nlargest(_HIGHEST, "score")),
    )
    return [
        {
            "caption": caption,
            "pictures": [
                {
                    "name": row["image"] if len(row["image"]) < 60 else f"…{row['image'][-58:]}",
                    "share": row["score"] / row["threshold"],
                    "alarm": row["decision"] == "anomalous",
                    "thumbnail": thumbnail_uri(Path(row["path"]), images),
                }
                for row in table.to_dict("records")
            ],
        }
        for caption, table in shown
    ]


def _typical(table: pd.DataFrame) -> pd.DataFrame:
    """The images whose scores are nearest to the median."""
    far = (table["score"] - table["score"].median()).abs()
    return table.loc[far.nsmallest(_TYPICAL).index]


def _p_value(value: float) -> str:
    return "< 1e-9" if value < 1e-9 else f"{value:.2g}"
