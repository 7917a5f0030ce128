"""Folders in, manifests out: one file per layout. Nothing here trains, scores or draws at random.

A layout module has `matches(root)` and `read(root)`; adding one means adding it to `LAYOUTS`.
"""

from irp_core.datasets.crop_loss import CROP_LOSS_SCHEMA, count_lost, crop_loss
from irp_core.datasets.scan import DUPLICATES_SCHEMA, LAYOUTS, QUARANTINE_SCHEMA, Scan, detect_layout, scan

__all__ = [
    "CROP_LOSS_SCHEMA",
    "DUPLICATES_SCHEMA",
    "LAYOUTS",
    "QUARANTINE_SCHEMA",
    "Scan",
    "count_lost",
    "crop_loss",
    "detect_layout",
    "scan",
]
