"""Score the test split with every iteration's detector. The test images are first read here, after the last removal."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from irp_core.data.manifest import other_rows, testing_rows
from irp_core.run.directory import RunDirectory
from tasks.steps.extract import extract_features
from tasks.steps.refine import score_test_set

__all__ = ["evaluate"]


@flow(name="evaluate", flow_run_name="evaluate-{run_path}", persist_result=False)
def evaluate(run_path: str, last_iteration: int) -> None:
    """Score the test images with models 0 to `last_iteration`; nothing to do where there are none."""
    manifest = RunDirectory(Path(run_path)).manifest()
    if other_rows(manifest).empty and testing_rows(manifest).empty:
        return
    features = extract_features(run_path, "rest")
    if testing_rows(manifest).empty:
        return
    for iteration in range(last_iteration + 1):
        score_test_set(run_path, iteration, features)
