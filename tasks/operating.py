"""What a finished refinement says of itself without labels: the operating threshold, the estimated contamination."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.atomic import read_json, write_json
from irp_core.config import digest
from irp_core.detectors import detector_class
from irp_core.features import resolve_device
from irp_core.manifest import read_table, testing_rows, write_table
from irp_core.mixture import estimate_contamination
from irp_core.operating import operating_point
from irp_core.out_of_fold import out_of_fold_scores
from irp_core.pipeline import StoredFeatures
from irp_core.policy import Policy
from irp_core.tables import SCORES_SCHEMA
from tasks.refining import round_after, training_set
from tasks.rundir import RunDirectory

__all__ = ["contamination_of", "set_operating_point"]


@task(task_run_name="operating-threshold", cache_policy=NO_CACHE)
def set_operating_point(run_path: str, iteration: int, features: StoredFeatures) -> dict[str, Any] | None:
    """The final detector's operating threshold: a quantile of the kept images' out-of-fold scores.

    With labelled test images it is held against them (evaluation only). None where fewer than two different images
    are left: then there is no fold to leave out.
    """
    run = RunDirectory(Path(run_path))
    params = run.params()
    rows = training_set(run, iteration)
    if rows["md5"].nunique() < 2:
        return None
    kind = detector_class(params.detector.name)
    key = digest("operating", run.key("train", iteration), params.operating, params.views.score, params.run.seed)

    def make(folder: Path) -> None:
        seen = features.read(rows, params.views.score, kind.needs)
        device = resolve_device(params.features.device)
        scores = out_of_fold_scores(
            lambda: kind.build(seen, params, device),
            seen,
            rows["md5"].tolist(),
            folds=params.operating.folds,
            epochs=params.training.epochs,
            seed=params.run.seed,
        ).scores
        write_table(rows.assign(iteration=iteration, score=scores), folder / "scores.parquet", SCORES_SCHEMA)
        write_json(folder / "operating.json", asdict(operating_point(scores, params.operating.false_alarm_rate)))

    with run.timed("operating threshold"):
        found: dict[str, Any] = read_json(run.do("operating", None, key, make) / "operating.json")
    return found | _measured(run, iteration, found["threshold"])


def _measured(run: RunDirectory, iteration: int, threshold: float) -> dict[str, float]:
    """Shares of the good and of the defective test images above the threshold, where there are such."""
    if run.key("evaluate", iteration) is None:
        return {}
    scores = read_table(run.step("evaluate", iteration) / "scores.parquet", SCORES_SCHEMA)
    truth = testing_rows(run.manifest()).set_index("image_id")["label"]
    labels = truth.loc[scores["image_id"]].to_numpy()
    above = scores["score"].to_numpy() > threshold
    measured = {"test_false_alarms": above[labels == "good"], "test_detected": above[labels == "defective"]}
    return {name: float(np.mean(values)) for name, values in measured.items() if len(values)}


def contamination_of(run: RunDirectory, iteration: int, policy: Policy) -> dict[str, float] | None:
    """Estimated share of defective images in the initial set, from the last look; None without out-of-fold scores."""
    if not (policy.reversible and policy.score_on == "out_of_fold"):
        return None
    scores = round_after(run, iteration, policy).images["score"].to_numpy()
    return asdict(estimate_contamination(scores, seed=run.params().run.seed))
