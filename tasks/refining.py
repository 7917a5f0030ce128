"""The four verbs of one refinement iteration, save the snapshot: train, score, decide, evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.atomic import read_json, write_json
from irp_core.config import digest
from irp_core.detectors import EpochReport, detector_class, load_detector
from irp_core.errors import InputError
from irp_core.feature_set import FeatureSet
from irp_core.features import resolve_device
from irp_core.hashing import file_sha256
from irp_core.manifest import read_table, testing_rows, training_rows, write_table
from irp_core.out_of_fold import OutOfFold, out_of_fold_scores
from irp_core.refinement import Policy, decide
from irp_core.removals import REMOVAL_SCHEMA, REMOVED, RESTORED, excluded_rows, with_truth
from irp_core.reviews import KEPT_BY_REVIEW
from irp_core.tables import HISTORY_SCHEMA, SCORES_SCHEMA, TRAINING_SET_SCHEMA
from tasks.extraction import StoreHandle, stored_features
from tasks.progress import bar
from tasks.rundir import RunDirectory

__all__ = [
    "decide_removal",
    "looked_at",
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
    kind = detector_class(params.detector.name)
    key = digest(
        "train", rows.to_dict("list"), params.detector, params.differnet, params.patch_knn, params.training,
        params.views.train, epochs, seed, features.fingerprint, {need: features.local[need] for need in kind.needs},
        parent,
    )  # fmt: skip

    def make(folder: Path) -> None:
        if share_with is not None and RunDirectory(Path(share_with)).key("train", iteration) == key:
            for file in RunDirectory(Path(share_with)).step("train", iteration).iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            return
        seen = stored_features(features, rows, params.views.train, kind.needs)
        device = resolve_device(params.features.device)
        if warm_start:
            detector = kind.load(run.step("train", iteration - 1), device)
        else:
            detector = kind.build(seen, params, device)
        with bar(f"Training, iteration {iteration}") as advance:

            def show(report: EpochReport) -> None:
                advance(report.epoch, report.epochs, f"loss {report.loss:.4f}")

            history = detector.fit(seen, epochs=epochs, seed=seed, report=show)
        detector.save(folder)
        # Noted once: the paper's flow has 690 MB, and its digest is asked for more than once.
        write_json(folder / "trained.json", {"weights_sha256": file_sha256(folder / "weights.safetensors")})
        table = pd.DataFrame([asdict(entry) for entry in history])[HISTORY_SCHEMA.names]
        write_table(table, folder / "history.parquet", HISTORY_SCHEMA)
        get_run_logger().info("Trained on %d images, loss %.4f", len(rows), history[-1].loss)

    with run.timed("train"):
        return str(run.do("train", iteration, key, make))


@task(task_run_name="score-{iteration}", cache_policy=NO_CACHE)
def score_training_set(run_path: str, iteration: int, features: StoreHandle, policy: Policy) -> str:
    """Score iteration `iteration`'s training set, as `policy` says: with its own detector, or out of fold.

    Where the policy is reversible the images removed before are scored beside it (`outside.parquet`).
    """
    run = RunDirectory(Path(run_path))
    params = run.params()
    views = params.views.score
    name = policy.detector or params.detector.name
    how: list[Any] = [run.key("train", iteration), views]
    if policy.score_on == "out_of_fold" or policy.detector is not None:
        how = [
            training_set(run, iteration).to_dict("list"), iteration == 0, name, asdict(policy), params.differnet,
            params.patch_knn, params.training, params.refinement.folds, params.refinement.repeats, params.run.seed,
            features.fingerprint, features.local, views,
        ]  # fmt: skip

    def make(folder: Path) -> None:
        rows, outside = training_set(run, iteration), training_set(run, 0)
        outside = outside[~outside["image_id"].isin(rows["image_id"])] if policy.reversible else outside.iloc[:0]
        everything = pd.concat([rows, outside], ignore_index=True)
        seen = stored_features(features, everything, views, detector_class(name).needs)
        inside = np.arange(len(everything)) < len(rows)
        found = _scores(run, iteration, policy, seen, everything["md5"].tolist(), inside)
        table = everything.assign(iteration=iteration, score=found.scores)
        write_json(folder / "supported.json", {"supported": found.supported})
        write_table(table[inside], folder / "scores.parquet", SCORES_SCHEMA)
        if policy.reversible:
            write_table(table[~inside], folder / "outside.parquet", SCORES_SCHEMA)

    with run.timed("score"):
        return str(run.do("score", iteration, digest("score", *how), make))


def _scores(
    run: RunDirectory,
    iteration: int,
    policy: Policy,
    seen: FeatureSet,
    contents: list[str],
    inside: NDArray[np.bool_],
) -> OutOfFold:
    params = run.params()
    device = resolve_device(params.features.device)
    if policy.score_on == "in_sample" and policy.detector is None:
        return OutOfFold(load_detector(run.step("train", iteration), device).score(seen), None)
    kind = detector_class(policy.detector or params.detector.name)
    if policy.score_on == "in_sample":
        detector = kind.build(seen, params, device)
        detector.fit(seen[inside], epochs=params.training.epochs, seed=params.run.seed)
        return OutOfFold(detector.score(seen), None)
    if len(set(contents)) < 2:
        raise InputError(f"{run.path.name}: out-of-fold scores expect 2 different training images at least, found 1.")
    return out_of_fold_scores(
        lambda: kind.build(seen, params, device),
        seen,
        contents,
        inside=inside,
        start=policy.start if iteration == 0 else "all",
        folds=params.refinement.folds,
        repeats=params.refinement.repeats,
        epochs=params.training.epochs,
        confidence=policy.confidence,
        seed=params.run.seed,  # of every iteration: a set that did not change has the same folds, and stays
    )


def looked_at(run: RunDirectory, iteration: int, policy: Policy) -> pd.DataFrame:
    """What the decision after model `iteration` looks at: its scores table, with a column `inside`."""
    folder = run.step("score", iteration)
    tables = [read_table(folder / "scores.parquet", SCORES_SCHEMA).assign(inside=True)]
    if policy.reversible:
        tables.append(read_table(folder / "outside.parquet", SCORES_SCHEMA).assign(inside=False))
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


@task(task_run_name="decide-{iteration}", cache_policy=NO_CACHE)
def decide_removal(run_path: str, iteration: int, policy: Policy) -> dict[str, Any]:
    """Decide, from the previous iteration's scores, what iteration `iteration` trains without."""
    run = RunDirectory(Path(run_path))
    seed = run.params().run.seed
    key_parts: list[Any] = ["decide", run.key("score", iteration - 1), asdict(policy), seed]
    injected = None
    supported = read_json(run.step("score", iteration - 1) / "supported.json")["supported"]
    scores = looked_at(run, iteration - 1, policy)
    places = dict(zip(scores["image_id"], range(len(scores)), strict=True))
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
        inside=scores["inside"].to_numpy(),
        seen=[
            frozenset(places[image] for image in training_set(run, earlier)["image_id"]) for earlier in range(iteration)
        ]
        if policy.reversible
        else (),
        supported=supported,
    )
    inside = scores[scores["inside"]]
    summary = {
        "iteration": iteration,
        "threshold": decision.threshold,
        "supported": supported,
        "max_score": float(inside["score"].max()),
        "median_score": float(np.median(inside["score"])),
        "n_scored": len(inside),
        "n_above": decision.n_above,
        "n_removed": len(decision.removed),
        "n_restored": len(decision.restored),
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
                scores.iloc[decision.restored].assign(decision=RESTORED),
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
        if policy.reversible:  # in the manifest's order again
            kept = kept.sort_values("image_id", ignore_index=True)
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
        params = run.params()
        needs = detector_class(params.detector.name).needs
        detector = load_detector(run.step("train", iteration), resolve_device(params.features.device))
        scores = detector.score(stored_features(features, rows, views, needs))
        table = rows[["image_id", "md5"]].assign(iteration=iteration, score=scores)
        write_table(table, folder / "scores.parquet", SCORES_SCHEMA)

    with run.timed("evaluate"):
        return str(run.do("evaluate", iteration, key, make))
