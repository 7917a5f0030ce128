"""The four verbs of one refinement iteration, save the snapshot: train, score, decide, evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.atomic import write_json
from irp_core.config import digest
from irp_core.detectors import DifferNet, EpochReport, load_detector
from irp_core.features import resolve_device
from irp_core.hashing import file_sha256
from irp_core.manifest import read_table, testing_rows, training_rows, write_table
from irp_core.refinement import Policy, decide
from irp_core.removals import REMOVAL_SCHEMA, REMOVED, excluded_rows, with_truth
from irp_core.reviews import KEPT_BY_REVIEW
from irp_core.tables import HISTORY_SCHEMA, SCORES_SCHEMA, TRAINING_SET_SCHEMA
from tasks.extraction import StoreHandle, stored_features
from tasks.progress import bar
from tasks.rundir import RunDirectory

__all__ = [
    "decide_removal",
    "score_test_set",
    "score_training_set",
    "train_detector",
    "training_set",
]


def training_set(run: RunDirectory, iteration: int) -> pd.DataFrame:
    """`image_id` and `md5` of the images that iteration `iteration` trains on."""
    if iteration == 0:
        rows = training_rows(run.manifest())
        excluded = excluded_rows(run.decisions(), rows)
        return rows[~rows["md5"].isin(excluded["md5"])].reset_index(drop=True)
    return read_table(run.step("decide", iteration) / "training_set.parquet", TRAINING_SET_SCHEMA)


@task(task_run_name="train-{iteration}", cache_policy=NO_CACHE)
def train_detector(
    run_path: str, iteration: int, features: StoreHandle, warm_start: bool, epochs: int, share_with: str | None = None
) -> str:
    """Train on iteration `iteration`'s set; from the previous model where `warm_start`.

    Args:
        share_with: another run's directory; if its model of this iteration was made from the same inputs it is
            taken over (methods that are compared share their pre-trained detector).
    """
    run = RunDirectory(Path(run_path))
    params = run.params()
    rows = training_set(run, iteration)
    seed = params.run.seed * 1000 + iteration
    parent = run.key("train", iteration - 1) if warm_start else None
    key = digest(
        "train", rows.to_dict("list"), params.differnet, params.training, params.views.train, epochs, seed,
        features.fingerprint, parent,
    )  # fmt: skip

    def make(folder: Path) -> None:
        if share_with is not None and RunDirectory(Path(share_with)).key("train", iteration) == key:
            for file in RunDirectory(Path(share_with)).step("train", iteration).iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            return
        views = stored_features(features, rows, params.views.train)
        device = resolve_device(params.features.device)
        if warm_start:
            detector = DifferNet.load(run.step("train", iteration - 1), device)
        else:
            detector = DifferNet(views.shape[2], params.differnet, params.training, device)
        with bar(f"Training, iteration {iteration}") as advance:

            def show(report: EpochReport) -> None:
                advance(report.epoch, report.epochs, f"loss {report.loss:.4f}")

            history = detector.fit(views, epochs=epochs, seed=seed, report=show)
        detector.save(folder)
        # Noted once: the paper's flow has 690 MB, and its digest is asked for more than once.
        write_json(folder / "trained.json", {"weights_sha256": file_sha256(folder / "weights.safetensors")})
        table = pd.DataFrame([asdict(entry) for entry in history])[HISTORY_SCHEMA.names]
        write_table(table, folder / "history.parquet", HISTORY_SCHEMA)
        get_run_logger().info("Trained on %d images, loss %.4f", len(rows), history[-1].loss)

    with run.timed("train"):
        return str(run.do("train", iteration, key, make))


@task(task_run_name="score-{iteration}", cache_policy=NO_CACHE)
def score_training_set(run_path: str, iteration: int, features: StoreHandle) -> str:
    """Score iteration `iteration`'s training set with its own detector."""
    run = RunDirectory(Path(run_path))
    views = run.params().views.score
    key = digest("score", run.key("train", iteration), views)

    def make(folder: Path) -> None:
        rows = training_set(run, iteration)
        detector = load_detector(run.step("train", iteration))
        scores = detector.score(stored_features(features, rows, views))
        write_table(rows.assign(iteration=iteration, score=scores), folder / "scores.parquet", SCORES_SCHEMA)

    with run.timed("score"):
        return str(run.do("score", iteration, key, make))


@task(task_run_name="decide-{iteration}", cache_policy=NO_CACHE)
def decide_removal(run_path: str, iteration: int, policy: Policy) -> dict[str, Any]:
    """Decide, from the previous iteration's scores, what iteration `iteration` trains without."""
    run = RunDirectory(Path(run_path))
    seed = run.params().run.seed
    key_parts: list[Any] = ["decide", run.key("score", iteration - 1), asdict(policy), seed]
    injected = None
    scores = read_table(run.step("score", iteration - 1) / "scores.parquet", SCORES_SCHEMA)
    if policy.selection == "oracle":
        truth = run.manifest().set_index("image_id")["injected"]
        injected = truth.loc[scores["image_id"]].to_numpy(dtype=bool)
        key_parts.append(injected.tolist())
    decisions = run.decisions()
    kept_by_review = decisions[decisions["decision"] == KEPT_BY_REVIEW].set_index("md5")
    decision = decide(
        scores["score"].to_numpy(),
        policy,
        iteration=iteration,
        initial_size=len(training_set(run, 0)),
        seed=seed,
        injected=injected,
        protected=scores["md5"].isin(kept_by_review.index).to_numpy(),
    )
    summary = {
        "iteration": iteration,
        "threshold": decision.threshold,
        "max_score": float(scores["score"].max()),
        "median_score": float(np.median(scores["score"])),
        "n_scored": len(scores),
        "n_above": decision.n_above,
        "n_removed": len(decision.removed),
        "n_kept": len(decision.kept),
        "n_spared": len(decision.spared),
        "rule": policy.rule_label,
        "stop_reason": decision.stop_reason,
    }

    def make(folder: Path) -> None:
        review = kept_by_review[["reviewer", "reviewed_at", "note"]]
        rows = pd.concat(
            [
                scores.iloc[decision.removed].assign(decision=REMOVED),
                scores.iloc[decision.spared].join(review, on="md5").assign(decision=KEPT_BY_REVIEW),
            ]
        ).assign(
            iteration=iteration,
            threshold=decision.threshold,
            rule=policy.rule_label,
            margin=lambda table: table["score"] - table["threshold"],
        )
        write_table(with_truth(rows, run.manifest()), folder / "removed.parquet", REMOVAL_SCHEMA)
        kept = scores.iloc[decision.kept][TRAINING_SET_SCHEMA.names]
        write_table(kept, folder / "training_set.parquet", TRAINING_SET_SCHEMA)
        write_json(folder / "decision.json", summary)

    with run.timed("decide"):
        run.do("decide", iteration, digest(*key_parts), make)
    get_run_logger().info("Iteration %d: %s", iteration, summary)
    return summary


@task(task_run_name="evaluate-{iteration}", cache_policy=NO_CACHE)
def score_test_set(run_path: str, iteration: int, features: StoreHandle) -> str:
    """Score the test images with iteration `iteration`'s detector."""
    run = RunDirectory(Path(run_path))
    rows = testing_rows(run.manifest())
    views = run.params().views.score
    key = digest("evaluate", run.key("train", iteration), rows[["image_id", "md5"]].to_dict("list"), views)

    def make(folder: Path) -> None:
        detector = load_detector(run.step("train", iteration))
        scores = detector.score(stored_features(features, rows, views))
        table = rows[["image_id", "md5"]].assign(iteration=iteration, score=scores)
        write_table(table, folder / "scores.parquet", SCORES_SCHEMA)

    with run.timed("evaluate"):
        return str(run.do("evaluate", iteration, key, make))
