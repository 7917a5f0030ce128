"""The steps of one refinement iteration, save the snapshot: train, score, decide, evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.atomic import read_json, write_json
from irp_core.config import Params, digest
from irp_core.detectors import Detector, EpochReport, detector_class, load_detector
from irp_core.errors import InputError
from irp_core.features import resolve_device
from irp_core.hashing import file_sha256
from irp_core.manifest import read_table, testing_rows, training_rows, write_table
from irp_core.pipeline import StoredFeatures
from irp_core.policy import Policy, epochs_per_iteration, policy_of
from irp_core.removals import REMOVAL_SCHEMA, REMOVED, RESTORED, excluded_rows, with_truth
from irp_core.reviews import KEPT_BY_REVIEW
from irp_core.rounds import Decision, Round, decide, decision_round
from irp_core.scoring import score_by_policy, scorer_name, scores_with_its_own_model
from irp_core.tables import HISTORY_SCHEMA, SCORES_SCHEMA, TRAINING_SET_SCHEMA
from tasks.progress import bar
from tasks.rundir import RunDirectory

__all__ = [
    "decide_removal",
    "policy_of_run",
    "round_after",
    "score_test_set",
    "score_training_set",
    "train_detector",
    "training_set",
]


def policy_of_run(run: RunDirectory) -> Policy:
    """The policy that a run was asked for."""
    return policy_of(run.params().refinement, random_counts=tuple(run.record()["random_counts"]))


def training_set(run: RunDirectory, iteration: int) -> pd.DataFrame:
    """`image_id` and `md5` of the images that iteration `iteration` trains on."""
    if iteration == 0:
        rows = training_rows(run.manifest())
        excluded = excluded_rows(run.decisions(), rows)
        return rows[~rows["md5"].isin(excluded["md5"])].reset_index(drop=True)
    return read_table(run.step("decide", iteration) / "training_set.parquet", TRAINING_SET_SCHEMA)


@task(task_run_name="train-{iteration}", cache_policy=NO_CACHE)
def train_detector(run_path: str, iteration: int, features: StoredFeatures) -> str:
    """Train on iteration `iteration`'s set: from the previous model where the policy says so, else from scratch.

    The first model may be taken over from the run that this one shares with, if it was made from the same inputs:
    methods that are compared share their pre-trained detector.
    """
    run = RunDirectory(Path(run_path))
    params, record = run.params(), run.record()
    rows = training_set(run, iteration)
    seed = params.run.seed * 1000 + iteration
    again = iteration > 0
    warm_start = again and policy_of_run(run).retrain == "warm_start"
    epochs = epochs_per_iteration(params) if again else record["total_epochs"] or params.training.epochs
    parent = run.key("train", iteration - 1) if warm_start else None
    kind = detector_class(params.detector.name)
    key = digest(
        "train", rows.to_dict("list"), params.detector, params.differnet, params.patch_knn, params.training,
        params.views.train, epochs, seed, features.fingerprint, {need: features.local[need] for need in kind.needs},
        parent,
    )  # fmt: skip
    other = None if again or record.get("share_with") is None else RunDirectory(Path(record["share_with"]))

    def make(folder: Path) -> None:
        if other is not None and other.key("train", iteration) == key:
            for file in other.step("train", iteration).iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            return
        stored = features.read(rows, params.views.train, kind.needs)
        device = resolve_device(params.features.device)
        if warm_start:
            detector = kind.load(run.step("train", iteration - 1), device)
        else:
            detector = kind.build(stored, params, device)
        with bar(f"Training, iteration {iteration}") as advance:

            def show(report: EpochReport) -> None:
                advance(report.epoch, report.epochs, f"loss {report.loss:.4f}")

            history = detector.fit(stored, epochs=epochs, seed=seed, report=show)
        detector.save(folder)
        # Noted once: the paper's flow has 690 MB, and its digest is asked for more than once.
        write_json(folder / "trained.json", {"weights_sha256": file_sha256(folder / "weights.safetensors")})
        table = pd.DataFrame([asdict(entry) for entry in history])[HISTORY_SCHEMA.names]
        write_table(table, folder / "history.parquet", HISTORY_SCHEMA)
        get_run_logger().info("Trained on %d images, loss %.4f", len(rows), history[-1].loss)

    with run.timed("train"):
        return str(run.do("train", iteration, key, make))


@task(task_run_name="score-{iteration}", cache_policy=NO_CACHE)
def score_training_set(run_path: str, iteration: int, features: StoredFeatures) -> str:
    """Score iteration `iteration`'s training set, as the policy says: with its own detector, or out of fold.

    Where the policy is reversible the images removed before are scored beside it (`outside.parquet`).
    """
    run = RunDirectory(Path(run_path))
    params, policy = run.params(), policy_of_run(run)
    views = params.views.score
    name = scorer_name(policy, params)

    def model() -> Detector:
        return load_detector(run.step("train", iteration), resolve_device(params.features.device))

    def make(folder: Path) -> None:
        rows, outside = training_set(run, iteration), training_set(run, 0)
        outside = outside[~outside["image_id"].isin(rows["image_id"])] if policy.reversible else outside.iloc[:0]
        everything = pd.concat([rows, outside], ignore_index=True)
        stored = features.read(everything, views, detector_class(name).needs)
        inside = np.arange(len(everything)) < len(rows)
        try:
            found = score_by_policy(
                stored, everything["md5"].tolist(), inside, iteration, policy, params, model
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"{run.run_id}: {error}") from None
        table = everything.assign(iteration=iteration, score=found.scores)
        write_json(folder / "supported.json", {"supported": found.lower_bound})
        write_table(table[inside], folder / "scores.parquet", SCORES_SCHEMA)
        if policy.reversible:
            write_table(table[~inside], folder / "outside.parquet", SCORES_SCHEMA)

    with run.timed("score"):
        return str(run.do("score", iteration, _scoring_key(run, iteration, features, policy, params), make))


def _scoring_key(run: RunDirectory, iteration: int, features: StoredFeatures, policy: Policy, params: Params) -> str:
    if scores_with_its_own_model(policy):
        return digest("score", run.key("train", iteration), params.views.score)
    return digest(
        "score", training_set(run, iteration).to_dict("list"), iteration == 0, scorer_name(policy, params),
        repr(policy), params.differnet, params.patch_knn, params.training, params.refinement.folds,
        params.refinement.repeats, params.run.seed, features.fingerprint, features.local, params.views.score,
    )  # fmt: skip


def round_after(run: RunDirectory, iteration: int, policy: Policy) -> Round:
    """The decision round after model `iteration`: its scores, and what else the decision is made from."""
    folder = run.step("score", iteration)
    outside = read_table(folder / "outside.parquet", SCORES_SCHEMA) if policy.reversible else None
    injected = None
    if policy.selection == "oracle":
        manifest = run.manifest()
        injected = frozenset(manifest.loc[manifest["injected"], "image_id"])
    decisions = run.decisions()
    return decision_round(
        iteration + 1,
        read_table(folder / "scores.parquet", SCORES_SCHEMA),
        outside,
        protected=decisions.loc[decisions["decision"] == KEPT_BY_REVIEW, "md5"],
        lower_bound=read_json(folder / "supported.json")["supported"],
        seed=run.params().run.seed,
        injected=injected,
    )


@task(task_run_name="decide-{iteration}", cache_policy=NO_CACHE)
def decide_removal(run_path: str, iteration: int) -> dict[str, Any]:
    """Decide, from the previous iteration's scores, what iteration `iteration` trains without."""
    run = RunDirectory(Path(run_path))
    policy = policy_of_run(run)
    this = round_after(run, iteration - 1, policy)
    history = [frozenset(training_set(run, earlier)["image_id"]) for earlier in range(iteration)]
    decision = decide(this, policy, history)
    summary = _summary(this, decision, policy)
    injected = None if this.injected is None else sorted(this.injected)
    key = digest("decide", run.key("score", iteration - 1), repr(policy), this.seed, injected)

    def make(folder: Path) -> None:
        rows = _removal_rows(this, decision, policy, run.decisions())
        write_table(with_truth(rows, run.manifest()), folder / "removed.parquet", REMOVAL_SCHEMA)
        kept = decision.kept[TRAINING_SET_SCHEMA.names]
        write_table(kept, folder / "training_set.parquet", TRAINING_SET_SCHEMA)
        write_json(folder / "decision.json", summary)

    with run.timed("decide"):
        run.do("decide", iteration, key, make)
    get_run_logger().info("Iteration %d: %s", iteration, summary)
    return summary


def _summary(this: Round, decision: Decision, policy: Policy) -> dict[str, Any]:
    inside = this.images.loc[this.images["inside"], "score"]
    return {
        "iteration": this.iteration,
        "threshold": decision.threshold,
        "supported": this.lower_bound,
        "max_score": float(inside.max()),
        "median_score": float(np.median(inside)),
        "n_scored": len(inside),
        "n_above": decision.n_above,
        "n_removed": len(decision.removed),
        "n_restored": len(decision.restored),
        "n_kept": len(decision.kept),
        "n_spared": len(decision.spared),
        "rule": policy.rule_label,
        "stop_reason": decision.stop_reason,
    }


def _removal_rows(this: Round, decision: Decision, policy: Policy, decisions: pd.DataFrame) -> pd.DataFrame:
    review = decisions[decisions["decision"] == KEPT_BY_REVIEW].set_index("md5")[["reviewer", "reviewed_at", "note"]]
    rows = [
        decision.removed.assign(decision=REMOVED),
        decision.restored.assign(decision=RESTORED),
        decision.spared.join(review, on="md5").assign(decision=KEPT_BY_REVIEW),
    ]
    return pd.concat(rows).assign(
        iteration=this.iteration,
        threshold=decision.threshold,
        rule=policy.rule_label,
        margin=lambda table: table["score"] - table["threshold"],
    )


@task(task_run_name="evaluate-{iteration}", cache_policy=NO_CACHE)
def score_test_set(run_path: str, iteration: int, features: StoredFeatures) -> str:
    """Score the test images with iteration `iteration`'s detector."""
    run = RunDirectory(Path(run_path))
    rows = testing_rows(run.manifest())
    views = run.params().views.score
    key = digest("evaluate", run.key("train", iteration), rows[["image_id", "md5"]].to_dict("list"), views)

    def make(folder: Path) -> None:
        params = run.params()
        needs = detector_class(params.detector.name).needs
        detector = load_detector(run.step("train", iteration), resolve_device(params.features.device))
        scores = detector.score(features.read(rows, views, needs))
        table = rows[["image_id", "md5"]].assign(iteration=iteration, score=scores)
        write_table(table, folder / "scores.parquet", SCORES_SCHEMA)

    with run.timed("evaluate"):
        return str(run.do("evaluate", iteration, key, make))
