"""Folders in, manifests out: one file per layout. Nothing here trains, scores or draws at random.

A layout module has `matches(root)` and `read(root)`; adding one means adding it to `LAYOUTS`.
"""

from irp_core.datasets.crop_loss import count_lost, crop_loss
from irp_core.datasets.scan import LAYOUTS, Scan, detect_layout, scan

__all__ = [
    "LAYOUTS",
    "Scan",
    "count_lost",
    "crop_loss",
    "detect_layout",
    "scan",
]
