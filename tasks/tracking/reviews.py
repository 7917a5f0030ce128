"""Reviews of a finished run, brought to MLflow."""

from __future__ import annotations

from mlflow.exceptions import MlflowException

from irp_core.errors import InputError
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import read_tracked
from tasks.reports.page import render_page
from tasks.review.session import Review
from tasks.tracking.queries import client_of
from tasks.tracking.results import log_results, register

__all__ = ["log_review", "note_review", "review_is_logged"]


def note_review(run: RunDirectory, events: int) -> None:
    """Note how many review events MLflow has: the last thing to do, so that whatever failed before is tried again.

    Counted before they are logged: another reviewer may be at work meanwhile.
    """
    run.write_mlflow({**(run.mlflow() or {}), "review_events": events})


def review_is_logged(run: RunDirectory) -> bool:
    """Whether MLflow has every review event of the run, and what followed from it was done (see `log_review`)."""
    known = run.mlflow()
    return known is not None and known.get("review_events", 0) == len(run.reviews())


def log_review(review: Review) -> None:
    """Bring the tracked run up to date after a review: page, removal table, decisions, approval, digests.

    A model whose registration waited for the approval (`review.required`) is registered now, unless a decision
    contradicts the set that it was trained on.
    """
    run = review.run
    params = run.params()
    client = client_of(params)
    render_page(run)
    known = run.mlflow()
    if known is None:
        raise InputError(f"{run.path}: expected a run that MLflow knows, found one that was never tracked.")
    parent = str(known["run"])
    try:
        client.get_run(parent)
    except MlflowException:
        raise InputError(
            f"{run.path}: expected its run {parent} at tracking.uri {params.tracking.uri!r}, found none."
        ) from None
    events = len(run.reviews())
    models = [read_tracked(run.step("track", k)) for k in range(int(run.summary()["iterations"]) + 1)]
    log_results(client, run, parent, models)
    if params.review.required and review.approved() and review.contradictions().empty:
        register(client, params, parent)
    note_review(run, events)
