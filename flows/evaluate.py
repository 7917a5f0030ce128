"""Score the test split with every iteration's detector. The test images are first read here, after the last removal."""

from __future__ import annotations

from irp_core.manifest import testing_rows
from tasks.extraction import extract_features
from tasks.refining import score_test_set
from tasks.rundir import RunDirectory

__all__ = ["evaluate_iterations"]


def evaluate_iterations(run: RunDirectory, last_iteration: int) -> None:
    """Score the test images with models 0 to `last_iteration`; nothing to do without test images."""
    if testing_rows(run.manifest()).empty:
        return
    features = extract_features(str(run.path), "test")
    for iteration in range(last_iteration + 1):
        score_test_set(str(run.path), iteration, features)
