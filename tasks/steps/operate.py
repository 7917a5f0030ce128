"""What a finished refinement says of itself without labels: the operating threshold, the estimated contamination."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.config import digest
from irp_core.data.manifest import testing_rows
from irp_core.detectors import detector_class
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.features.pipeline import StoredFeatures
from irp_core.features.pooled import resolve_device
from irp_core.refinement.policy import Policy
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import read_operating, write_operating
from irp_core.statistics.mixture import estimate_contamination
from irp_core.statistics.operating_point import operating_point

__all__ = ["contamination_of", "set_operating_point"]


@task(task_run_name="operating-threshold", cache_policy=NO_CACHE)
def set_operating_point(run_path: str, iteration: int, features: StoredFeatures) -> dict[str, Any] | None:
    """The final detector's operating threshold: a quantile of the kept images' out-of-fold scores.

    With labelled test images it is held against them (evaluation only). None where fewer than two different images
    are left: then there is no fold to leave out.
    """
    run = RunDirectory(Path(run_path))
    params = run.params()
    rows = run.training_set(iteration)
    contents = run.contents(rows)
    if len(set(contents)) < 2:
        return None
    kind = detector_class(params.detector.name)
    key = digest("operating", run.key("train", iteration), params.operating, params.views.score, params.run.seed)

    def make(folder: Path) -> None:
        seen = features.read(rows, params.views.score, kind.needs)
        device = resolve_device(params.features.device)
        scores = out_of_fold_scores(
            lambda: kind.build(seen, params, device),
            seen,
            contents,
            folds=params.operating.folds,
            epochs=params.training.epochs,
            seed=params.run.seed,
        ).scores
        point = operating_point(scores, params.operating.false_alarm_rate)
        write_operating(folder, rows.assign(iteration=iteration, score=scores), asdict(point))

    with run.timed("operating threshold"):
        found = read_operating(run.do("operating", None, key, make))
    return found | _measured(run, iteration, found["threshold"])


def _measured(run: RunDirectory, iteration: int, threshold: float) -> dict[str, float]:
    """Shares of the good and of the defective test images above the threshold, where there are such."""
    if run.key("evaluate", iteration) is None:
        return {}
    scores = run.test_scores(iteration)
    truth = testing_rows(run.manifest()).set_index("image_id")["label"]
    labels = truth.loc[scores["image_id"]].to_numpy()
    above = scores["score"].to_numpy() > threshold
    measured = {"test_false_alarms": above[labels == "good"], "test_detected": above[labels == "defective"]}
    return {name: float(np.mean(values)) for name, values in measured.items() if len(values)}


def contamination_of(run: RunDirectory, iteration: int, policy: Policy) -> dict[str, float] | None:
    """Estimated share of defective images in the initial set, from the last round; None without out-of-fold scores."""
    if not (policy.reversible and policy.score_on == "out_of_fold"):
        return None
    scores = run.scored(iteration)["score"].to_numpy()
    return asdict(estimate_contamination(scores, seed=run.params().run.seed))
