"""What a run says of its maps: one sentence for all views, and the figures by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["maps_metrics", "maps_sentence"]


def maps_metrics(summary: Mapping[str, Any]) -> dict[str, float | int]:
    """The metrics of the maps (`irp_core.localisation.pixel_metrics.PixelMetrics`) that are known, by name.

    Example:
        >>> maps_metrics({"maps": {"metrics": {"aupro": 0.9, "aupimo": None}}})
        {'aupro': 0.9}
    """
    found = (summary.get("maps") or {}).get("metrics") or {}
    return {name: value for name, value in found.items() if value is not None}


def maps_sentence(summary: Mapping[str, Any]) -> str | None:
    """How well the maps hit the defects that masks show; None where no test image has a mask."""
    found = maps_metrics(summary)
    if not found.get("defective"):
        return None
    areas = [
        f"{label} {found[name]:.3f}"
        for name, label in (("pixel_auroc", "pixel AUROC"), ("aupro", "AUPRO"), ("aupimo", "AUPIMO"))
        if name in found
    ]
    text = f"Maps against the masks of {found['defective']} test images: {', '.join(areas)}; the highest spot lies on a"
    text += f" defect in {100 * found['peak_hits']:.0f} % of them"
    if "defects_hit" in found:
        text += f", {100 * found['defects_hit']:.0f} % of {found['defects']} defects are outlined"
    if "good_marked" in found:
        text += f", and a spot of {100 * found['good_marked']:.0f} % of the good images is"
    text += "."
    if lost := found.get("vanished"):
        text += f" At images.size {lost} {'defect vanishes' if lost == 1 else 'defects vanish'}."
    return text
