"""The refinement: the one loop, as plain visible steps, score → decide → snapshot → retrain.

Vanilla, one-shot removal, IRP, the oracle and the controls are settings of it (`irp_core.refinement`).
"""

from __future__ import annotations

import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from prefect import flow, tags
from prefect.logging import get_run_logger

from flows.approve import approved
from flows.evaluate import evaluate
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.refinement import epochs_per_iteration, policy_of
from irp_core.run.directory import RunDirectory, open_run
from irp_core.run.inputs import RunInputs
from tasks.data import create_run, prepare, standing_decisions
from tasks.extraction import extract_features
from tasks.operating import set_operating_point
from tasks.page import write_page
from tasks.refining import decide_removal, score_training_set, train_detector
from tasks.reporting import publish_artifacts, write_results
from tasks.reviewing import Review
from tasks.snapshots import check_repository, snapshot
from tasks.tracking import fail_parent, finish_parent, register_model, start_parent, track_iteration

__all__ = ["refine"]


@flow(name="refine", flow_run_name="refine-{root}", persist_result=False)
def refine(
    root: str,
    params: dict[str, Any],
    manifest: str | None = None,
    share_with: str | None = None,
    total_epochs: int | None = None,
    random_counts: tuple[int, ...] = (),
    decisions: str | None = None,
    operating: bool = True,
) -> str:
    """Refine the data set at `root`; returns the run's directory.

    Args:
        root: folder of images.
        params: sections of `params.yaml` as plain values.
        manifest: directory written by `irp prepare`, instead of scanning `root` now.
        share_with: directory of a finished run whose pre-trained detector may be taken over.
        total_epochs: epochs of the first training, for the control `equal_epochs`.
        random_counts: removals per iteration, for the control `random`.
        decisions: file of reviewers' decisions to respect besides `review.decisions`.
        operating: find the operating threshold, which trains the detector on `operating.folds` folds once more;
            without it the last look's threshold has to serve.
    """
    checked = Params.model_validate(params)
    if checked.snapshots.enabled:
        check_repository()
    asked = RunInputs(total_epochs, tuple(random_counts), operating, share_with, manifest, decisions)
    run = _prepare_run(root, checked, asked)
    if checked.run.outputs == "tables" and run.finished():  # a sweep goes on from its last finished run
        return str(run.path)
    with tags(f"method:{checked.refinement.method}", f"dataset:{run.record()['dataset']}", f"run:{run.run_id}"):
        _tracked(run)
    return _as_approved(run)


@flow(name="resume", flow_run_name="resume-{run_path}", persist_result=False)
def resume(run_path: str) -> str:
    """Go on with the run in `run_path` where it was."""
    run = open_run(Path(run_path))
    _tracked(run)
    return _as_approved(run)


def _as_approved(run: RunDirectory) -> str:
    """The directory of `run`, or of another that respects what its approval wants otherwise."""
    params, asked, review = run.params(), run.inputs(), Review(run)
    if not (params.review.required and review.approved() and len(review.contradictions())):
        return str(run.path)
    # The approval named images to keep or to remove: the next run respects them, and asks again.
    now = standing_decisions(params, run.manifest(), Path(asked.decisions) if asked.decisions else None)
    if now[["md5", "decision"]].equals(run.decisions()[["md5", "decision"]]):
        raise InputError(f"{params.review.decisions}: expected the decisions of the approval, found none of them.")
    sibling = run.shares_with()
    return str(
        refine(
            str(run.data_root()),
            params.model_dump(mode="json"),
            asked.manifest,
            str(sibling.path) if sibling else None,
            asked.total_epochs,
            asked.random_counts,
            asked.decisions,
            asked.operating,
        )
    )


def _tracked(run: RunDirectory) -> None:
    """The loop inside its MLflow run, which a crash or an interruption leaves FAILED."""
    parent = start_parent(str(run.path))
    try:
        _loop(run, parent)
    except BaseException:
        fail_parent(run, parent)
        raise


def _prepare_run(root: str, params: Params, asked: RunInputs) -> RunDirectory:
    if asked.manifest is not None:
        return create_run(Path(root), params, Path(asked.manifest), asked)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as prepared:
        prepare(root, params.model_dump(mode="json"), prepared)
        run = create_run(Path(root), params, Path(prepared), asked)
    run.add_time("read images", time.perf_counter() - started)
    return run


def _loop(run: RunDirectory, parent: str) -> None:
    path, params, asked, sibling = str(run.path), run.params(), run.inputs(), run.shares_with()
    policy = policy_of(params.refinement, random_counts=asked.random_counts)
    first_epochs = asked.total_epochs or params.training.epochs
    warm_start = policy.retrain == "warm_start"
    retrain_epochs = epochs_per_iteration(params)
    nested: dict[int, str] = {}

    features = extract_features(path, "train")
    for iteration in count():
        if iteration > 0:
            score_training_set(path, iteration - 1, features, policy)
            nested[iteration - 1] = track_iteration(path, parent, iteration - 1, features.fingerprint)
            decision = decide_removal(path, iteration, policy)
            if decision["stop_reason"]:
                break
        if params.snapshots.enabled:
            snapshot(path, iteration)
        if iteration == 0:
            train_detector(path, iteration, features, False, first_epochs, str(sibling.path) if sibling else None)
        else:
            train_detector(path, iteration, features, warm_start, retrain_epochs)
    get_run_logger().info("Stopped: %s", decision["stop_reason"])
    last = iteration - 1
    evaluate(path, last)
    wanted = asked.operating and params.run.outputs == "full"
    write_results(path, last, decision, set_operating_point(path, last, features) if wanted else None)
    if params.run.outputs == "full":
        write_page(path)
    finish_parent(path, parent, nested)
    if approved(path):
        register_model(path, parent)
    publish_artifacts(path)
    run.finish()
