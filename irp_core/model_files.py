"""The names of a saved model's files. Apart, because who only names them needs no torch."""

from __future__ import annotations

__all__ = ["DETECTOR", "INSPECTOR", "LOCALISER", "WEIGHTS"]

DETECTOR = "detector.json"
WEIGHTS = "weights.safetensors"
INSPECTOR = "inspector.json"
"""What makes a folder with a detector a complete inspector (`irp_core.inspection`)."""
LOCALISER = "localiser"
"""Folder, beside the detector, of the one that says where, if that is another."""
