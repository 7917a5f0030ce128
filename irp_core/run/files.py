"""The names of a run's files, stated once: in its folder, and among the artifacts of its MLflow runs."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "CELLS", "CROP_LOSS", "DECIDED", "DECISION", "DECISIONS", "DIGESTS", "DUPLICATES", "FEATURES", "FINISHED",
    "FORMERLY", "HEALTH", "HISTORY", "IGNORED", "IMAGES", "ITERATIONS", "LANDSCAPE", "LASTING", "LAST_ROUND", "LOG",
    "LOWER_BOUND", "MANIFEST", "MAPS", "MLFLOW", "MODEL", "NEAR_COPIES", "NOTES", "OPERATING", "OUTSIDE", "PREPARED",
    "QUARANTINE", "RECORD", "REMOVALS", "REMOVALS_SHOWN", "REPORT", "REVIEWS", "REVIEWS_DONE", "SCORES", "SNAPSHOT",
    "STEP", "SUMMARY", "TABLES", "TEST_SCORES", "TIMINGS", "TRACKED", "TRAINED", "TRAINING_SET", "found_in",
    "with_new_names",
]  # fmt: skip

# Of a prepared data set, and of the run that was made from it.
MANIFEST = "manifest.parquet"
QUARANTINE = "quarantine.parquet"
DUPLICATES = "duplicates.parquet"
NEAR_COPIES = "near_copies.parquet"
IGNORED = "ignored.parquet"
NOTES = "notes.parquet"
CROP_LOSS = "crop_loss.parquet"
HEALTH = "health.parquet"  # of `irp prepare` alone
PREPARED = "prepared.json"  # the digests of what `irp prepare` wrote

# Of the whole run.
RECORD = "run.json"  # what was asked for
DECISIONS = "decisions.parquet"  # reviewers' decisions that stood when the run began
REVIEWS = "review.parquet"  # review events, made after it
REVIEWS_DONE = "review.json"  # how many of them everything was derived from
FEATURES = "features.json"
MLFLOW = "mlflow.json"
TIMINGS = "timings.jsonl"
LOG = "run.log"  # what the steps did and said, and why one failed
ITERATIONS = "iterations.parquet"
SCORES = "scores.parquet"
TEST_SCORES = "test_scores.parquet"
REMOVALS = "removals.parquet"  # the history: a row per decision
IMAGES = "images.parquet"  # the final state: a row per training image
SUMMARY = "summary.json"
REPORT = "report.html"
MODEL = "model"
FINISHED = "finished.json"
DIGESTS = "digests.json"  # of everything that the run left, here and in MLflow
LASTING = (ITERATIONS, SCORES, TEST_SCORES, SUMMARY)  # results that no review of the finished run changes

# Of a step of an iteration.
STEP = "step.json"
HISTORY = "history.parquet"
TRAINED = "trained.json"
OUTSIDE = "outside.parquet"
LANDSCAPE = "landscape.parquet"  # where each image stands among the others
LOWER_BOUND = "lower_bound.json"
TRAINING_SET = "training_set.parquet"
DECISION = "decision.json"
DECIDED = "decided.parquet"  # the removal rows of one round
OPERATING = "operating.json"
MAPS = "maps.json"  # the scale of the maps, and how well they hit defects
CELLS = "cells.parquet"  # the maps of training images, before they are enlarged
SNAPSHOT = "snapshot.json"
TRACKED = "mlflow_run_id.txt"

# Folders among a run's artifacts in MLflow, and the removal table that its own page displays.
TABLES = "tables"
LAST_ROUND = "last_round"
REMOVALS_SHOWN = "removals.json"

# Former names, of runs from before `images.parquet`: read where a run has them, never written.
FORMERLY = {
    REMOVALS: "removed.parquet",
    DECIDED: "removed.parquet",
    LOWER_BOUND: "supported.json",
    f"{LAST_ROUND}/{DECIDED}": "last_look/removed.parquet",
    f"{TABLES}/{REMOVALS}": f"{TABLES}/removed.parquet",
    f"{TABLES}/{DECIDED}": f"{TABLES}/removed.parquet",
}
_OLD_KEYS = {"supported": "defective_lower_bound", "last_look": "last_round"}


def found_in(folder: Path, name: str) -> Path:
    """The file `name` in `folder`, under its former name if only that one is there."""
    former = folder / FORMERLY.get(name, name)
    return former if former.exists() and not (folder / name).exists() else folder / name


def with_new_names(record: dict[str, object]) -> dict[str, object]:
    """A record of a run (a decision, a summary) under today's keys; nested ones, too."""
    return {
        _OLD_KEYS.get(key, key): with_new_names(value) if isinstance(value, dict) else value
        for key, value in record.items()
    }
