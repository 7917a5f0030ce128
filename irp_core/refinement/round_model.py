"""The model of a round that detectors beside the final one decide: those detectors, fitted on the round's set.

Nobody asks for the final detector before the last round where others decide and each training starts from scratch. A
round's model is then what decided it, and the final detector is trained once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from irp_core.atomic import read_json_object, write_json
from irp_core.config import Params
from irp_core.detectors import Detector, EpochReport, detector_class, load_detector
from irp_core.detectors.out_of_fold import voters
from irp_core.detectors.protocol import Report
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.features.pooled import resolve_device
from irp_core.model_files import DETECTOR, WEIGHTS
from irp_core.refinement.policy import Policy
from irp_core.refinement.scoring import expect_different, scorers, scores_with_its_own_model

__all__ = ["final_waits", "fit_scorers", "load_scorer", "save_scorers"]

_SEVERAL = "scorers"  # the kind that `detector.json` names


def final_waits(policy: Policy) -> bool:
    """Whether the final detector is trained after the last round only, because no round asks for it."""
    return not scores_with_its_own_model(policy) and policy.retrain == "scratch"


def fit_scorers(
    features: FeatureSet, groups: Sequence[str], policy: Policy, params: Params, report: Report | None = None
) -> tuple[dict[str, Detector], list[EpochReport]]:
    """The detectors that score for a round by name, fitted on its whole training set, and the course of their training.

    Args:
        features: of the training set's n images, with the views of a training.
        groups: digest of what each image shows (n,): one image of a group votes for it, as when the round is scored.

    Returns:
        Of one detector its own epochs; of several one line each, in their order.

    Raises:
        InputError: fewer than two different images.
    """
    expect_different(groups)
    device = resolve_device(params.features.device)
    first = voters(groups, np.ones(len(features), dtype=bool)) == np.arange(len(features))
    fitted: dict[str, Detector] = {}
    histories: list[list[EpochReport]] = []
    for name in scorers(policy, params):
        detector = detector_class(name).build(features, params, device)
        seen = features[first] if detector.leaves_itself_out and not first.all() else features
        histories.append(detector.fit(seen, epochs=params.training.epochs, seed=params.run.seed, report=report))
        fitted[name] = detector
    if len(histories) == 1:
        return fitted, histories[0]
    return fitted, [replace(history[-1], epoch=k, epochs=len(histories)) for k, history in enumerate(histories, 1)]


def save_scorers(directory: Path, fitted: dict[str, Detector]) -> None:
    """Write `weights.safetensors` and `detector.json`: those of the one detector, or of all in one pair of files."""
    if len(fitted) == 1:
        next(iter(fitted.values())).save(directory)
        return
    tensors: dict[str, Tensor] = {}
    descriptions: dict[str, Any] = {}
    for name, detector in fitted.items():
        with tempfile.TemporaryDirectory() as folder:
            detector.save(Path(folder))
            tensors |= {f"{name}/{key}": value for key, value in load_file(Path(folder) / WEIGHTS).items()}
            descriptions[name] = read_json_object(Path(folder) / DETECTOR)
    save_file(tensors, directory / WEIGHTS)
    write_json(directory / DETECTOR, {"detector": _SEVERAL, "scorers": descriptions})


def load_scorer(directory: Path, name: str, allow: Collection[str] = (), device: str = "auto") -> Detector:
    """The detector `name` among those that `save_scorers` wrote.

    Raises:
        InputError: it is not among them; files that do not fit each other.
    """
    target = resolve_device(device)
    description = read_json_object(directory / DETECTOR)
    if description.get("detector") != _SEVERAL:
        return load_detector(directory, target, allow=allow)
    described = read_json_object(directory / DETECTOR, "scorers")["scorers"]
    if not isinstance(described, dict) or name not in described:
        raise InputError(f"{directory}: expected the detector {name} among those saved, found none.")
    tensors = load_file(directory / WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
        save_file(own, Path(folder) / WEIGHTS)
        write_json(Path(folder) / DETECTOR, described[name])
        return load_detector(Path(folder), target, allow=allow)
