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

from irp_core.config import digest
from irp_core.detectors import EpochReport, detector_class, load_detector
from irp_core.errors import InputError
from irp_core.feature_set import FeatureSet
from irp_core.features import resolve_device
from irp_core.manifest import testing_rows
from irp_core.out_of_fold import OutOfFold, out_of_fold_scores
from irp_core.refinement import Policy, decide
from irp_core.removals import round_rows
from irp_core.reviews import KEPT_BY_REVIEW
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import write_decision, write_scored, write_scores, write_trained
from irp_core.tables import TRAINING_SET_SCHEMA
from tasks.extraction import StoreHandle, stored_features
from tasks.progress import bar

__all__ = [
    "decide_removal",
    "score_test_set",
    "score_training_set",
    "train_detector",
]


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
    rows = run.training_set(iteration)
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
            run.take_over(RunDirectory(Path(share_with)), "train", iteration, folder)
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
        write_trained(folder, history)
        get_run_logger().info("Trained on %d images, loss %.4f", len(rows), history[-1].loss)

    with run.timed("train"):
        return str(run.do("train", iteration, key, make))


@task(task_run_name="score-{iteration}", cache_policy=NO_CACHE)
def score_training_set(run_path: str, iteration: int, features: StoreHandle, policy: Policy) -> str:
    """Score iteration `iteration`'s training set, as `policy` says: with its own detector, or out of fold.

    Where the policy is reversible the images removed before are scored beside it.
    """
    run = RunDirectory(Path(run_path))
    params = run.params()
    views = params.views.score
    name = policy.detector or params.detector.name
    how: list[Any] = [run.key("train", iteration), views]
    if policy.score_on == "out_of_fold" or policy.detector is not None:
        how = [
            run.training_set(iteration).to_dict("list"), iteration == 0, name, asdict(policy), params.differnet,
            params.patch_knn, params.training, params.refinement.folds, params.refinement.repeats, params.run.seed,
            features.fingerprint, features.local, views,
        ]  # fmt: skip

    def make(folder: Path) -> None:
        rows, outside = run.training_set(iteration), run.training_set(0)
        outside = outside[~outside["image_id"].isin(rows["image_id"])] if policy.reversible else outside.iloc[:0]
        everything = pd.concat([rows, outside], ignore_index=True)
        seen = stored_features(features, everything, views, detector_class(name).needs)
        inside = np.arange(len(everything)) < len(rows)
        found = _scores(run, iteration, policy, seen, everything["md5"].tolist(), inside)
        table = everything.assign(iteration=iteration, score=found.scores)
        write_scored(folder, table[inside], table[~inside] if policy.reversible else None, found.supported)

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


@task(task_run_name="decide-{iteration}", cache_policy=NO_CACHE)
def decide_removal(run_path: str, iteration: int, policy: Policy) -> dict[str, Any]:
    """Decide, from the previous iteration's scores, what iteration `iteration` trains without."""
    run = RunDirectory(Path(run_path))
    seed = run.params().run.seed
    key_parts: list[Any] = ["decide", run.key("score", iteration - 1), asdict(policy), seed]
    injected = None
    lower_bound = run.lower_bound(iteration - 1)
    scores = run.scored(iteration - 1)
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
        initial_size=len(run.training_set(0)),
        seed=seed,
        injected=injected,
        protected=scores["md5"].isin(kept_by_review.index).to_numpy(),
        inside=scores["inside"].to_numpy(),
        seen=[
            frozenset(places[image] for image in run.training_set(earlier)["image_id"]) for earlier in range(iteration)
        ]
        if policy.reversible
        else (),
        supported=lower_bound,
    )
    inside = scores[scores["inside"]]
    summary = {
        "iteration": iteration,
        "threshold": decision.threshold,
        "defective_lower_bound": lower_bound,
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
        decided = round_rows(
            scores,
            removed=decision.removed,
            restored=decision.restored,
            spared=decision.spared,
            iteration=iteration,
            threshold=decision.threshold,
            rule=policy.rule_label,
            decisions=decisions,
            manifest=run.manifest(),
        )
        kept = scores.iloc[decision.kept][TRAINING_SET_SCHEMA.names]
        if policy.reversible:  # in the manifest's order again
            kept = kept.sort_values("image_id", ignore_index=True)
        write_decision(folder, decided, kept, summary)

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
        write_scores(folder, table)

    with run.timed("evaluate"):
        return str(run.do("evaluate", iteration, key, make))
