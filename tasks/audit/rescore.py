"""Score a tracked run's last training set again, from the images themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.data.contamination import content_groups
from irp_core.detectors import DETECTORS, Detector
from irp_core.errors import InputError
from irp_core.features.pipeline import FeaturePipeline
from irp_core.inspection import Inspector
from irp_core.model_files import INSPECTOR
from irp_core.packed.images import copy_image
from irp_core.refinement.policy import policy_of
from irp_core.refinement.scoring import needs_of, score_by_policy, scorers
from tasks.fetch.weights import resolve_weights
from tasks.tracking.reader import TrackedRun

__all__ = ["scores_made_again", "scores_of_stored_weights"]

Progress = Callable[[int, int], None]


def scores_of_stored_weights(
    run: TrackedRun,
    rows: pd.DataFrame,
    paths: Mapping[str, Path],
    device: str,
    progress: Progress,
    allow: Collection[str] = (),
) -> NDArray[np.float64]:
    """What the run's final detector, as MLflow has it, gives these images (n,)."""
    with tempfile.TemporaryDirectory() as temporary:
        inspector = Inspector(_model_folder(run, Path(temporary)), device, allow=allow)
        table = inspector.score([paths[image_id] for image_id in rows["image_id"]], progress=progress)
    return table["score"].to_numpy(dtype=float)


def scores_made_again(
    run: TrackedRun,
    rows: pd.DataFrame,
    paths: Mapping[str, Path],
    device: str,
    progress: Progress,
    allow: Collection[str] = (),
) -> NDArray[np.float64]:
    """What these images get by the run's policy, whose detectors are trained again from the images and the seed (n,).

    Nothing is taken from a feature store. It costs what the last iteration's scoring cost, and the extraction.

    Raises:
        InputError: a detector of another package that is not allowed.
    """
    params = run.params()
    policy = policy_of(params.refinement)
    used = scorers(policy, params)
    if foreign := sorted(set(used) - set(DETECTORS) - set(allow)):
        raise InputError(f"{run.run_id}: names the detector {foreign[0]!r} (--allow-detector {foreign[0]}).")
    iteration = len(run.models) - 1
    everything = rows
    if policy.scores_outside:
        outside = run.as_it_is().outside(iteration)[["image_id", "md5"]]
        everything = pd.concat([rows, outside], ignore_index=True)
    inside = np.arange(len(everything)) < len(rows)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "images"
        for image_id in everything["image_id"]:
            copy_image(paths[image_id], root, image_id, link=True)
        features = params.features.model_copy(update={"store": f"{temporary}/features", "device": device})
        here = params.model_copy(update={"features": features})
        pipeline = FeaturePipeline(here, resolve_weights(features), needs_of(used))
        pipeline.fill(everything, root, "again")
        found = score_by_policy(
            pipeline.stored.read(everything, params.views.score, needs_of(used)),
            everything["md5"].tolist(), inside, iteration, policy, here, _no_model,
            list(content_groups(everything["md5"], run.near_copies())),
        )  # fmt: skip
    progress(len(rows), len(rows))
    return np.asarray(found.scores, dtype=float)[inside]


def _no_model() -> Detector:
    raise AssertionError("this policy scores with detectors of its own")


def _model_folder(run: TrackedRun, temporary: Path) -> Path:
    """The final detector's folder as the store has it: links, so that no weights are fetched or copied again."""
    for name in run.known_files():
        if name.startswith("model/"):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).symlink_to(run.file(name, verify=False).resolve())
    if not (temporary / "model").exists():
        raise InputError(f"{run.run_id}: expected a run that kept its model, found one that did not (run.outputs).")
    found = next(temporary.rglob(INSPECTOR), None)
    if found is None:
        raise InputError(f"{run.run_id}: expected {INSPECTOR} among the model's files, found none.")
    return found.parent
