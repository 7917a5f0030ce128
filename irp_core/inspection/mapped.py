"""The map of an image that was scored, as a file: the same bytes wherever it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from irp_core.inspection.inspector import Inspector
from irp_core.localisation.drawn import drawn

__all__ = ["KINDS", "map_png"]

KINDS = ("png", "raw")
"""`png`: the image with the map over it; `raw`: the 16-bit map (docs/maps.md)."""


def map_png(
    content: bytes | NDArray[np.uint8], view: NDArray[np.float32], inspector: Inspector, kind: str
) -> tuple[bytes, dict[str, Any]]:
    """A PNG file, and what the map says (`irp_core.localisation.drawn.Drawn.says`).

    Args:
        content: the image's file, or its pixels.
        view: what `Inspector.judge` or `Inspector.locate` gave for it.
        kind: one of `KINDS`.

    Raises:
        InputError: no image that is read.
    """
    assert inspector.scale is not None
    found = drawn(content, view, inspector.scale, inspector.images)
    return (found.overlay_png() if kind == "png" else found.raw_png()), found.says()
