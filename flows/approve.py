"""Wait for a person: in a Prefect deployment, the flow pauses until somebody approves the run or changes it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.runtime import deployment
from pydantic import Field

from irp_core.data.manifest import training_rows
from irp_core.run.directory import RunDirectory
from tasks.reports.results import publish_removed_images
from tasks.review.session import Review
from tasks.tracking.writer import log_review

__all__ = ["Approval", "approved"]


class Approval(RunInput):
    """What the form on the paused flow run asks for."""

    reviewer: str = Field(description="Your name.", min_length=1)
    keep: list[str] = Field(default=[], description="Names of removed images that must stay.")
    remove: list[str] = Field(default=[], description="Names of further images to remove.")
    note: str = ""


def approved(run_path: str) -> bool:
    """Whether the run may go into service as it stands; asks where it can.

    In a deployment the flow pauses with the removed images as an artifact. Elsewhere nobody could answer: the run ends
    without being registered, and `irp review` approves it. Images that the answer keeps or removes against the run
    are decisions that another run has to respect: this one is then not approved.
    """
    run = RunDirectory(Path(run_path))
    settings = run.params().review
    if not settings.required:
        return True
    review = Review(run)
    logger = get_run_logger()
    if review.approved() is None and deployment.id is None:
        logger.warning("Not registered: `irp review %s` approves it.", run_path)
        return False
    if review.approved() is None:
        publish_removed_images(run_path)
    problem = ""
    for attempt in count():
        if review.approved() is not None:
            break
        form = Approval.with_initial_data(description=_question(run, problem))
        try:
            # By the run: one flow run may ask about several, and Prefect answers a known key from memory.
            key = f"approval-{run.run_id[-8:]}-{attempt}"
            answer = pause_flow_run(wait_for_input=form, timeout=settings.timeout, key=key)
        except FlowPauseTimeout:
            if review.approved() is None:  # nor meanwhile by `irp review`
                logger.warning("Nobody answered within %d s: not registered.", settings.timeout)
                return False
            break
        problem = record(review, answer)
        if not problem:
            log_review(review)
    return review.contradictions().empty


def record(review: Review, answer: Approval) -> str:
    """Write an answer's decisions and its approval; returns what is wrong with it, and then writes nothing."""
    manifest = training_rows(review.run.manifest()).set_index("image_id")["md5"]
    unknown = [name for name in (*answer.keep, *answer.remove) if name not in manifest.index]
    # By content: a copy under another name is the same image.
    kept = {manifest.get(name) for name in answer.keep}
    both = sorted(name for name in answer.remove if name in manifest.index and manifest[name] in kept)
    if unknown or both or not answer.reviewer.strip():
        if unknown:
            return f"No training image of this run is named {unknown[0]!r}."
        return f"{both[0]!r} cannot be both kept and removed." if both else "The reviewer's name is missing."
    for names, keep in ((answer.keep, True), (answer.remove, False)):
        for name in names:
            review.decide(manifest[name], keep, answer.reviewer, answer.note)
    review.approve(answer.reviewer, answer.note)
    return ""


def _question(run: RunDirectory, problem: str) -> str:
    removed = len(Review(run).items.query("kind == 'removed'"))
    lines = [
        f"**{run.run_id}** removed {removed} images; they are among this flow run's artifacts.",
        "Submit to approve. Name images to keep or to remove: the data set is then refined again with these decisions.",
        f"To see the images: `irp review {run.path}`.",
    ]
    return "\n\n".join([f"**{problem}**", *lines] if problem else lines)
