"""Score the test split with every iteration's detector. The test images are first read here, after the last removal."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from irp_core.data.manifest import other_rows, testing_rows
from irp_core.refinement.scoring import scorers
from irp_core.run.directory import RunDirectory
from tasks.steps.extract import extract_features
from tasks.steps.refine import score_test_set

__all__ = ["evaluate"]


@flow(name="evaluate", flow_run_name="evaluate-{run_path}", persist_result=False)
def evaluate(run_path: str, last_iteration: int) -> None:
    """Score the test images with models 0 to `last_iteration`; nothing to do where there are none.

    While the final detector waits (`irp_core.refinement.round_model`) the earlier models are the scorers: they are
    evaluated where the configured detector is one of them.
    """
    run = RunDirectory(Path(run_path))
    manifest = run.manifest()
    if other_rows(manifest).empty and testing_rows(manifest).empty:
        return
    features = extract_features(run_path, "rest")
    if testing_rows(manifest).empty:
        return
    params = run.params()
    among_scorers = params.detector.name in scorers(run.policy(), params)
    for iteration in range(last_iteration + 1):
        if run.key("train", iteration) is None and not among_scorers:
            continue  # a model of other detectors, whose figures would not compare with the final one's
        score_test_set(run_path, iteration, features)
