"""The steps of one refinement iteration, save the snapshot: train, score, decide, evaluate."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.config import Params, digest
from irp_core.data.manifest import testing_rows, training_rows
from irp_core.detectors import Detector, EpochReport, detector_class, load_detector
from irp_core.detectors.folds import score_in_parts
from irp_core.errors import InputError
from irp_core.features.pipeline import StoredFeatures
from irp_core.features.pooled import resolve_device
from irp_core.refinement.policy import Policy, epochs_per_iteration
from irp_core.refinement.round_model import fit_scorers, load_scorer, save_scorers
from irp_core.refinement.rounds import decide
from irp_core.refinement.scoring import (
    MAPPED,
    later_settings,
    needs_of,
    only_of,
    score_by_policy,
    scorers,
    scores_with_its_own_model,
)
from irp_core.results.results import round_summary, write_round
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import write_scored, write_scores, write_trained
from tasks.runtime.cluster import on_workers
from tasks.runtime.progress import bar

__all__ = ["decide_removal", "score_test_set", "score_training_set", "train_detector", "train_final", "train_scorers"]

_LOG = logging.getLogger(__name__)


@task(task_run_name="train-{iteration}", cache_policy=NO_CACHE)
def train_detector(run_path: str, iteration: int, features: StoredFeatures) -> str:
    """Train on iteration `iteration`'s set: from the previous model where the policy says so, else from scratch.

    The first model may be taken over from the run that this one shares with, if it was made from the same inputs:
    methods that are compared share their pre-trained detector.
    """
    return _train(run_path, iteration, features)


@task(task_run_name="train-final", cache_policy=NO_CACHE)
def train_final(run_path: str, iteration: int, features: StoredFeatures) -> str:
    """Train the final detector on the last iteration's set, where no round asked for it before."""
    return _train(run_path, iteration, features)


@task(task_run_name="train-{iteration}", cache_policy=NO_CACHE)
def train_scorers(run_path: str, iteration: int, features: StoredFeatures) -> str:
    """Fit the detectors that score for the round on iteration `iteration`'s set: its model while the final waits."""
    run = RunDirectory(Path(run_path))
    params, policy, rows = run.params(), run.policy(), run.training_set(iteration)
    names = scorers(policy, params)
    groups = run.groups(rows)
    key = digest(
        "scorers", rows.to_dict("list"), groups, names, params.differnet, params.patch_knn,
        params.training.result_keys(), params.views.train, params.run.seed, features.fingerprint,
        {need: features.local[need] for need in needs_of(names)}, *later_settings(names, params),
    )  # fmt: skip

    def make(folder: Path) -> None:
        shown = bar(f"Training, iteration {iteration}")
        with on_workers(features, params) as spread, shown as advance, _named(run):
            fitted, history = fit_scorers(
                spread.read(rows, params.views.train, needs_of(names)), groups, policy, params,
                lambda report: advance(report.epoch, report.epochs, f"loss {report.loss:.4f}"),
            )  # fmt: skip
        save_scorers(folder, fitted)
        write_trained(folder, history)
        get_run_logger().info("Fitted %s on %d images", ", ".join(names), len(rows))

    with run.timed("train"):
        return str(run.do("scorers", iteration, key, make))


def _train(run_path: str, iteration: int, features: StoredFeatures) -> str:
    run = RunDirectory(Path(run_path))
    params = run.params()
    rows = run.training_set(iteration)
    seed = params.run.seed * 1000 + iteration
    again = iteration > 0
    warm_start = again and run.policy().retrain == "warm_start"
    epochs = epochs_per_iteration(params) if again else run.inputs().total_epochs or params.training.epochs
    parent = run.key("train", iteration - 1) if warm_start else None
    kind = detector_class(params.detector.name)
    key = digest(
        "train", rows.to_dict("list"), params.detector, params.differnet, params.patch_knn,
        params.training.result_keys(), params.views.train, epochs, seed, features.fingerprint,
        {need: features.local[need] for need in kind.needs}, parent, *later_settings([params.detector.name], params),
    )  # fmt: skip
    only = only_of(params, training_rows(run.manifest())["md5"].tolist())
    only = {need: of for need, of in only.items() if need in kind.needs}
    if only:
        key = digest(key, sorted(only), MAPPED)
    other = None if again else run.shares_with()

    def make(folder: Path) -> None:
        if other is not None and other.key("train", iteration) == key:
            run.take_over(other, "train", iteration, folder)
            return
        device = resolve_device(params.features.device)
        with on_workers(features, params) as spread, bar(f"Training, iteration {iteration}") as advance:
            stored = spread.read(rows, params.views.train, kind.needs, only)
            if warm_start:
                detector = kind.load(run.step("train", iteration - 1), device)
            else:
                detector = kind.build(stored, params, device)

            def show(report: EpochReport) -> None:
                advance(report.epoch, report.epochs, f"loss {report.loss:.4f}")

            history = detector.fit(stored, epochs=epochs, seed=seed, report=show)
        detector.save(folder)
        write_trained(folder, history)
        get_run_logger().info("Trained on %d images, loss %.4f", len(rows), history[-1].loss)
        for need, of in only.items():
            _LOG.info(
                "Trained on %d images, of which %d, drawn by content, have %s",
                len(rows),
                rows["md5"].isin(of).sum(),
                need,
            )

    with run.timed("train"):
        return str(run.do("train", iteration, key, make))


@task(task_run_name="score-{iteration}", cache_policy=NO_CACHE)
def score_training_set(run_path: str, iteration: int, features: StoredFeatures) -> str:
    """Score iteration `iteration`'s training set, as the policy says: with its own detector, or out of fold.

    Where the policy is reversible the images removed before are scored beside it.
    """
    run = RunDirectory(Path(run_path))
    params, policy = run.params(), run.policy()
    views = params.views.score

    def model() -> Detector:
        device = resolve_device(params.features.device)
        return load_detector(run.step("train", iteration), device, allow=[params.detector.name])

    def make(folder: Path) -> None:
        rows, outside = run.training_set(iteration), _outside(run, iteration, policy)
        everything = pd.concat([rows, outside], ignore_index=True)
        inside = np.arange(len(everything)) < len(rows)
        with on_workers(features, params) as spread, _named(run):
            stored = spread.read(everything, views, needs_of(scorers(policy, params)))
            found = score_by_policy(
                stored, everything["md5"].tolist(), inside, iteration, policy, params, model, run.groups(everything)
            )  # fmt: skip
        table = everything.assign(iteration=iteration, score=found.scores)
        kept_out = table[~inside] if policy.scores_outside else None
        write_scored(folder, table[inside], kept_out, found.lower_bound, found.landscape)

    with run.timed("score"):
        return str(run.do("score", iteration, _scoring_key(run, iteration, features, policy, params), make))


@contextmanager
def _named(run: RunDirectory) -> Iterator[None]:
    """Let what is wrong with a run's input name the run."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{run.run_id}: {error}") from None


def _outside(run: RunDirectory, iteration: int, policy: Policy) -> pd.DataFrame:
    """The images that are scored beside the training set: those that may come back, and what a person removed."""
    rows = run.training_set(iteration)
    everything = training_rows(run.manifest()) if policy.sees_landscape else run.training_set(0)
    outside = everything[~everything["image_id"].isin(rows["image_id"])]
    return outside if policy.scores_outside else outside.iloc[:0]


def _scoring_key(run: RunDirectory, iteration: int, features: StoredFeatures, policy: Policy, params: Params) -> str:
    if scores_with_its_own_model(policy):
        return digest("score", run.key("train", iteration), params.views.score)
    return digest(
        "score", run.training_set(iteration).to_dict("list"), iteration == 0, scorers(policy, params),
        repr(policy), params.differnet, params.patch_knn, params.training.result_keys(), params.refinement.folds,
        params.refinement.repeats, params.run.seed, features.fingerprint, features.local, params.views.score,
        *later_settings(scorers(policy, params), params),
    )  # fmt: skip


@task(task_run_name="decide-{iteration}", cache_policy=NO_CACHE)
def decide_removal(run_path: str, iteration: int) -> dict[str, Any]:
    """Decide, from the previous iteration's scores, what iteration `iteration` trains without."""
    run = RunDirectory(Path(run_path))
    policy = run.policy()
    this = run.round_after(iteration - 1)
    history = [frozenset(run.training_set(earlier)["image_id"]) for earlier in range(iteration)]
    decision = decide(this, policy, history)
    summary = round_summary(this, decision, policy)
    injected = None if this.injected is None else sorted(this.injected)
    key = digest("decide", run.key("score", iteration - 1), repr(policy), this.seed, injected)

    def make(folder: Path) -> None:
        write_round(run, folder, this, decision)

    with run.timed("decide"):
        run.do("decide", iteration, key, make)
    get_run_logger().info("Iteration %d: %s", iteration, summary)
    return summary


@task(task_run_name="evaluate-{iteration}", cache_policy=NO_CACHE)
def score_test_set(run_path: str, iteration: int, features: StoredFeatures) -> str:
    """Score the test images with iteration `iteration`'s detector.

    Before the last iteration that may be one of the scorers: the configured detector, fitted for the round.
    """
    run = RunDirectory(Path(run_path))
    rows = testing_rows(run.manifest())
    views = run.params().views.score
    trained = run.key("train", iteration)
    key = digest("evaluate", trained or run.key("scorers", iteration), rows[["image_id", "md5"]].to_dict("list"), views)

    def make(folder: Path) -> None:
        params = run.params()
        name, device = params.detector.name, params.features.device
        needs = detector_class(name).needs
        if trained is not None:
            detector = load_detector(run.step("train", iteration), resolve_device(device), allow=[name])
        else:
            detector = load_scorer(run.step("scorers", iteration), name, allow=[name], device=device)
        with on_workers(features, params) as spread:
            scores = score_in_parts(detector, spread.read(rows, views, needs))
        table = rows[["image_id", "md5"]].assign(iteration=iteration, score=scores)
        write_scores(folder, table)

    with run.timed("evaluate"):
        return str(run.do("evaluate", iteration, key, make))
