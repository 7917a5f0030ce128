"""The refinement as a tracked flow: prepare, run the loop with tasks as its steps, evaluate, report.

Vanilla, one-shot removal, IRP, the oracle and the controls are settings of the one loop
(`irp_core.refinement.loop`, `irp_core.methods`).
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from flows.approve import approved
from flows.evaluate import evaluate
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.refinement.loop import refinement_loop
from irp_core.refinement.round_model import final_waits
from irp_core.refinement.rounds import StopReason
from irp_core.results.estimate import estimate
from irp_core.run.begun import check_begun
from irp_core.run.directory import RunDirectory, open_run
from irp_core.run.inputs import RunInputs
from tasks.reports.page import write_page
from tasks.reports.results import publish_artifacts, write_results
from tasks.review.session import Review
from tasks.runtime.progress import tell
from tasks.runtime.run_log import logged
from tasks.runtime.without_prefect import orchestrated
from tasks.steps.extract import extract_features
from tasks.steps.localise import localise
from tasks.steps.operate import set_operating_point
from tasks.steps.prepare import at_work, create_run, prepare, standing_decisions
from tasks.steps.refine import decide_removal, score_training_set, train_detector, train_final, train_scorers
from tasks.tracking.writer import fail_parent, finish_parent, register_model, start_parent, track_iteration
from tasks.versions.snapshots import check_repository, snapshot

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
            without it the last round's threshold has to serve.
    """
    checked = Params.model_validate(params)
    if checked.snapshots.enabled:
        check_repository()
    inputs = RunInputs(
        total_epochs=total_epochs,
        random_counts=tuple(random_counts),
        operating=operating,
        share_with=share_with,
        manifest=manifest,
        decisions=decisions,
    )
    run = _prepare_run(root, checked, inputs)
    if checked.run.outputs == "tables" and run.finished():  # a sweep goes on from its last finished run
        return str(run.path)
    return _until_respected(run)


@flow(name="resume", flow_run_name="resume-{run_path}", persist_result=False)
def resume(run_path: str, allow_detectors: tuple[str, ...] = ()) -> str:
    """Go on with the run in `run_path` where it was.

    Args:
        allow_detectors: `package.module:Class` of detectors of other packages that the run may import.
    """
    run = open_run(Path(run_path))
    check_begun(run, allow_detectors)
    with at_work(run):
        run.note_repeat()
    return _until_respected(run)


def _until_respected(run: RunDirectory) -> str:
    """Carry out a run, and another as long as an approval names images to keep or to remove: it respects them, and asks
    again. Returns the last one's directory."""
    while True:
        params, record = run.params(), run.record()
        _tag(f"method:{params.refinement.method}", f"dataset:{record['dataset']}", f"run:{run.run_id}")
        _tracked(run)
        if not (params.review.required and Review(run).approved() and len(Review(run).contradictions())):
            return str(run.path)
        inputs, sibling = run.inputs(), run.shares_with()
        now = standing_decisions(params, run.manifest(), Path(inputs.decisions) if inputs.decisions else None)
        if now[["md5", "decision"]].equals(run.decisions()[["md5", "decision"]]):
            raise InputError(f"{params.review.decisions}: expected the decisions of the approval, found none of them.")
        asked = replace(inputs, share_with=str(sibling.path) if sibling else None)
        run = _prepare_run(str(run.data_root()), params, asked)


def _tag(*tags: str) -> None:
    """Tag the flow run, for Prefect's pages. `prefect.tags` would tag every task run, too, and for each of them Prefect
    asks its server whether a limit stands on one of its tags."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with get_client(sync_client=True) as client:
        known = client.read_flow_run(context.flow_run.id).tags
        client.update_flow_run(context.flow_run.id, tags=[*known, *(tag for tag in tags if tag not in known)])


def _tracked(run: RunDirectory) -> None:
    """The refinement inside its MLflow run, which a crash or an interruption leaves FAILED; the run's log has why."""
    with at_work(run), logged(run.log, f"the run {run.run_id}"):
        parent = start_parent(str(run.path))
        try:
            _refine_and_report(run, parent)
        except BaseException:
            fail_parent(run, parent)
            raise


def _prepare_run(root: str, params: Params, inputs: RunInputs) -> RunDirectory:
    if inputs.manifest is not None:
        return create_run(Path(root), params, Path(inputs.manifest), inputs)
    started, before = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as prepared:
        prepare(root, params.model_dump(mode="json"), prepared)
        run = create_run(Path(root), params, Path(prepared), inputs)
    if params.views.score > params.views.train:
        tell(
            f"views.score ({params.views.score}) is more than views.train ({params.views.train}): images are scored at "
            "angles that nothing was trained on, which may cost most of the AUROC (docs/decisions/0021)."
        )
    run.add_time("read images", time.perf_counter() - started, time.process_time() - before)
    if params.run.outputs == "full" and not run.has_results() and (expected := estimate(run)):
        tell(str(expected))
    return run


class _Tracked:
    """The loop's steps as Prefect tasks over the run's directory, with MLflow and DVC."""

    def __init__(self, run: RunDirectory, parent: str) -> None:
        self.path = str(run.path)
        self.parent = parent
        self.versioned = run.params().snapshots.enabled
        self.final_waits = final_waits(run.policy())
        self.features = extract_features(self.path, "train")
        self.models: dict[int, str] = {}  # nested MLflow run of each model

    def snapshot(self, iteration: int) -> None:
        if self.versioned:
            snapshot(self.path, iteration)

    def train(self, iteration: int) -> None:
        (train_scorers if self.final_waits else train_detector)(self.path, iteration, self.features)

    def score(self, iteration: int) -> None:
        score_training_set(self.path, iteration, self.features)

    def track(self, iteration: int) -> None:
        self.models[iteration] = track_iteration(self.path, self.parent, iteration, self.features.fingerprint)

    def decide(self, iteration: int) -> StopReason | None:
        reason: StopReason | None = decide_removal(self.path, iteration)["stop_reason"]
        return reason


def _refine_and_report(run: RunDirectory, parent: str) -> None:
    path, params = str(run.path), run.params()
    full = params.run.outputs == "full"
    steps = _Tracked(run, parent)
    last = refinement_loop(steps)  # train → score → track → decide, until a round says why it stops
    if steps.final_waits:
        train_final(path, last, steps.features)
    evaluate(path, last)
    point = set_operating_point(path, last, steps.features) if full and run.inputs().operating else None
    located = localise(path, last, steps.features) if full else None
    write_results(path, last, point, located)
    if full:
        write_page(path)
    finish_parent(path, parent, steps.models)
    if approved(path):
        register_model(path, parent)
    if orchestrated():
        publish_artifacts(path)
    run.finish()
