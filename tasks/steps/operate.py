"""The operating threshold of a finished refinement, without labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.config import digest
from irp_core.data.manifest import testing_rows
from irp_core.features.pipeline import StoredFeatures
from irp_core.results.operating import find_operating_point
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import read_operating, write_operating
from tasks.runtime.cluster import on_workers

__all__ = ["set_operating_point"]


@task(task_run_name="operating-threshold", cache_policy=NO_CACHE)
def set_operating_point(run_path: str, iteration: int, features: StoredFeatures) -> dict[str, Any] | None:
    """The final detector's operating threshold (`irp_core.results.operating`).

    With labelled test images it is held against them (evaluation only). None where fewer than two different images
    are left: then there is no fold to leave out.
    """
    run = RunDirectory(Path(run_path))
    params = run.params()
    if len(set(run.groups(run.training_set(iteration)))) < 2:
        return None
    key = digest("operating", run.key("train", iteration), params.operating, params.views.score, params.run.seed)

    def make(folder: Path) -> None:
        with on_workers(features, params) as spread:
            scores, point = find_operating_point(run, iteration, spread)
        write_operating(folder, scores, point)
        if "drawn_from" in point:
            logging.getLogger(__name__).info(
                "Operating threshold: %d of %d images, drawn by content, stand for all",
                point["images"],
                point["drawn_from"],
            )

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
