"""Detectors behind one protocol, one file each. A detector sees features and a seed: never labels, never paths."""

from __future__ import annotations

from pathlib import Path

from irp_core.atomic import read_json
from irp_core.detectors.differnet import DifferNet
from irp_core.detectors.protocol import Detector, EpochReport
from irp_core.errors import InputError

__all__ = ["DETECTORS", "Detector", "DifferNet", "EpochReport", "load_detector"]

DETECTORS: dict[str, type[DifferNet]] = {"differnet": DifferNet}


def load_detector(directory: Path) -> Detector:
    """Load whatever detector was saved in `directory`.

    Raises:
        InputError: no saved detector, or one of an unknown kind.
    """
    description = directory / "detector.json"
    if not description.is_file():
        raise InputError(f"{directory}: expected a saved detector (detector.json), found none.")
    name = read_json(description).get("detector")
    if name not in DETECTORS:
        raise InputError(f"{description}: detector must be one of {sorted(DETECTORS)}. Got {name!r}.")
    return DETECTORS[name].load(directory)
