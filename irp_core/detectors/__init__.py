"""Detectors behind one protocol, one file each. A detector sees features and a seed: never labels, never paths."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path

import torch

from irp_core.atomic import read_json_object
from irp_core.detectors.cells.cell_votes import CellVotes
from irp_core.detectors.cells.ensemble import Ensemble
from irp_core.detectors.cells.patch_gaussian import PatchGaussian
from irp_core.detectors.consensus import Consensus
from irp_core.detectors.differnet import DifferNet
from irp_core.detectors.gaussian import Gaussian
from irp_core.detectors.kurtosis import Kurtosis
from irp_core.detectors.patch_knn import PatchKnn
from irp_core.detectors.protocol import Detector, EpochReport, Localises, PadsBatches
from irp_core.errors import InputError
from irp_core.model_files import DETECTOR

__all__ = [
    "DETECTORS",
    "CellVotes",
    "Consensus",
    "Detector",
    "DifferNet",
    "Ensemble",
    "EpochReport",
    "Gaussian",
    "Kurtosis",
    "Localises",
    "PadsBatches",
    "PatchGaussian",
    "PatchKnn",
    "detector_class",
    "load_detector",
]

DETECTORS: dict[str, type[Detector]] = {
    "differnet": DifferNet,
    "gaussian": Gaussian,
    "patch_gaussian": PatchGaussian,
    "ensemble": Ensemble,
    "cell_votes": CellVotes,
    "patch_knn": PatchKnn,
    "kurtosis": Kurtosis,
    "consensus": Consensus,
}
_MEMBERS = ("build", "fit", "score", "save", "load", "needs", "leaves_itself_out")


def detector_class(name: str) -> type[Detector]:
    """The class of a detector: one of `DETECTORS`, or `package.module:Class` of another package.

    Raises:
        InputError: no such detector, or a class that is none.

    Example:
        >>> detector_class("gaussian")
        <class 'irp_core.detectors.gaussian.Gaussian'>
        >>> detector_class("gausian")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        irp_core.errors.InputError: detector must be one of [...] or package.module:Class. Got 'gausian' (...).
    """
    if name in DETECTORS:
        return DETECTORS[name]
    module, _, attribute = name.partition(":")
    try:
        found: type[Detector] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"detector must be one of {sorted(DETECTORS)} or package.module:Class. Got {name!r} ({error})."
        ) from None
    if missing := [member for member in _MEMBERS if not hasattr(found, member)]:
        raise InputError(f"detector {name!r}: expected the members of a Detector, found none of {missing}.")
    return found


def load_detector(directory: Path, device: torch.device | None = None, *, allow: Collection[str] = ()) -> Detector:
    """Load whatever detector was saved in `directory`.

    A saved file may name any class, and importing one runs its code: only built-in detectors are loaded, and those that
    the caller names.

    Args:
        allow: `package.module:Class` of detectors of other packages that may be imported.

    Raises:
        InputError: no saved detector, one of an unknown kind or not allowed, or files that do not fit each other.
    """
    description = directory / DETECTOR
    if not description.is_file():
        raise InputError(f"{directory}: expected a saved detector (detector.json), found none.")
    name = read_json_object(description).get("detector")
    if isinstance(name, str) and name not in DETECTORS and ":" in name and name not in allow:
        raise InputError(
            f"{description}: detector must be one of {sorted(DETECTORS)}. Got {name!r}, whose code is another "
            f"package's; if you trust it, allow it by name (--allow-detector {name})."
        )
    if not isinstance(name, str) or (name not in DETECTORS and ":" not in name):
        raise InputError(f"{description}: detector must be one of {sorted(DETECTORS)}. Got {name!r}.")
    try:
        return detector_class(name).load(directory, device)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{directory}: is not a saved {name} detector ({reason}).") from None
