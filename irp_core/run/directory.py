"""The run's folder, by what it holds: no other room knows a path or a file name in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from irp_core.atomic import read_json_object, write_json
from irp_core.data.contamination import content_groups
from irp_core.data.manifest import read_manifest, read_table, training_rows, write_table
from irp_core.data.schemas import DUPLICATES_SCHEMA, ITERATIONS_SCHEMA, QUARANTINE_SCHEMA, SCORES_SCHEMA
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.model_files import DETECTOR, WEIGHTS
from irp_core.refinement.policy import Policy, policy_of
from irp_core.refinement.reviews import REVIEW_SCHEMA, no_events
from irp_core.removals import IMAGE_SCHEMA, REMOVAL_SCHEMA, excluded_rows
from irp_core.run import files, step_files
from irp_core.run.glance.record import RunRecord, newest_first, run_folders
from irp_core.run.inputs import RunInputs
from irp_core.run.prepared import PreparedSet

if TYPE_CHECKING:
    from irp_core.refinement.rounds import Round

__all__ = ["RunDirectory", "is_run", "list_runs", "open_run", "runs_in"]


class RunDirectory(RunRecord):
    """One run: what it was asked for, what every iteration left, what came of it."""

    # What was asked for; all that a result depends on is fixed when the run begins.

    def inputs(self) -> RunInputs:
        """What the run was asked to do besides its parameters."""
        return RunInputs.of(self.record())

    def policy(self) -> Policy:
        """The settings of the loop that decide about removal."""
        return policy_of(self.params().refinement, random_counts=self.inputs().random_counts)

    def shares_with(self) -> RunDirectory | None:
        """The run whose pre-trained detector may be taken over."""
        name = self.inputs().share_with
        return None if name is None else RunDirectory(self.path.parent / name)

    def data_root(self) -> Path:
        """The folder of the images; one inside the project is on record relative to it."""
        root = Path(self.record()["data_root"])
        return root if root.is_absolute() else self.workspace() / root

    def workspace(self) -> Path:
        """Where the run was made, and what its relative paths (store, decisions, DVC's cache) start from.

        It is where `run.directory` leads to the run from; the current directory where that cannot be told.
        """
        place = self.path.absolute().parent
        for part in reversed(Path(self.params().run.directory).parts):
            if place.name != part:  # absolute, above, or the run was moved
                return Path.cwd()
            place = place.parent
        return place

    def manifest(self) -> pd.DataFrame:
        return read_manifest(self.path / files.MANIFEST)

    def quarantine(self) -> pd.DataFrame:
        """The files of the data set that could not be read."""
        return _read_if_there(self.path / files.QUARANTINE, QUARANTINE_SCHEMA)

    def duplicates(self) -> pd.DataFrame:
        """The images of the data set that are copies of another."""
        return _read_if_there(self.path / files.DUPLICATES, DUPLICATES_SCHEMA)

    def decisions(self) -> pd.DataFrame:
        """Reviewers' decisions about this run's images that stood when the run began."""
        file = self.path / files.DECISIONS
        return read_table(file, REVIEW_SCHEMA) if file.exists() else no_events()

    def write_decisions(self, decisions: pd.DataFrame) -> None:
        """Write the decisions that stand; without any there is no file."""
        if len(decisions):
            write_table(decisions, self.path / files.DECISIONS, REVIEW_SCHEMA)
        else:
            (self.path / files.DECISIONS).unlink(missing_ok=True)

    def decisions_sha256(self) -> str | None:
        """Digest of the file of standing decisions; None where there is none."""
        file = self.path / files.DECISIONS
        return file_sha256(file) if file.exists() else None

    def groups(self, rows: pd.DataFrame) -> list[str]:
        """What each image of `rows` (`md5`) shows, as a digest: equal for copies and near-copies."""
        return list(content_groups(rows["md5"], PreparedSet(self.path).near_copies()))

    # What each iteration left. Model k is trained on training set k; round k decided about it, from the scores that
    # model k - 1 gave.

    def training_set(self, iteration: int) -> pd.DataFrame:
        """`image_id` and `md5` of the images that iteration `iteration` trains on."""
        if iteration == 0:
            rows = training_rows(self.manifest())
            excluded = excluded_rows(self.decisions(), rows)
            return rows[~rows["md5"].isin(excluded["md5"])].reset_index(drop=True)
        return step_files.read_training_set(self.step("decide", iteration))

    def training_history(self, iteration: int) -> pd.DataFrame:
        """Loss, learning rate and seconds by epoch."""
        return step_files.read_history(self.model_step(iteration))

    def model_step(self, iteration: int) -> Path:
        """Folder of model `iteration`: what scored the round where that is not the final detector, else this one."""
        return self.step("train" if self.key("scorers", iteration) is None else "scorers", iteration)

    def weights_sha256(self, iteration: int) -> str | None:
        """Digest of model `iteration`'s weights; None where it was dropped."""
        return step_files.read_weights_sha256(self.model_step(iteration))

    def detector_files(self, iteration: int) -> list[Path]:
        """The files of the trained detector, to be kept elsewhere."""
        return [self.model_step(iteration) / name for name in (DETECTOR, WEIGHTS)]

    def scores(self, iteration: int) -> pd.DataFrame:
        """What model `iteration` (or the detector that decides) gave its training set."""
        return step_files.read_scores(self.step("score", iteration))

    def outside(self, iteration: int) -> pd.DataFrame:
        """The same of the images that had been removed by then, where the refinement is reversible."""
        return step_files.read_outside(self.step("score", iteration))

    def scored(self, iteration: int) -> pd.DataFrame:
        """All that round `iteration` + 1 decides about: `scores` and `outside`, with a column `inside`."""
        tables = [self.scores(iteration).assign(inside=True), self.outside(iteration).assign(inside=False)]
        return pd.concat([table for table in tables if len(table)], ignore_index=True)

    def score_files(self, iteration: int) -> list[Path]:
        """The files of `scores`, `outside` and `landscape`; all but the first may not exist."""
        return [self.step("score", iteration) / name for name in (files.SCORES, files.OUTSIDE, files.LANDSCAPE)]

    def round_after(self, iteration: int) -> Round:
        """The decision round after model `iteration`: its scores, and what else the decision is made from."""
        from irp_core.refinement.rounds import decision_round  # brings scikit-learn along

        policy, decisions = self.policy(), self.decisions()
        injected = None
        if policy.reads_injected:
            manifest = self.manifest()
            injected = frozenset(manifest.loc[manifest["injected"], "image_id"])
        inside, outside = self.scores(iteration), self.outside(iteration)
        md5s = [*inside["md5"], *outside["md5"]]
        return decision_round(
            iteration + 1,
            inside,
            outside,
            decisions=decisions,
            lower_bound=self.lower_bound(iteration),
            seed=self.params().run.seed,
            injected=injected,
            landscape=step_files.read_landscape(self.step("score", iteration), md5s),
        )

    def lower_bound(self, iteration: int) -> float | None:
        """The lower bound on the share of defective images that model `iteration`'s scores came with."""
        return step_files.read_lower_bound(self.step("score", iteration))

    def decision(self, iteration: int) -> dict[str, Any]:
        """Threshold, counts, rule and reason to stop of round `iteration`."""
        return step_files.read_decision(self.step("decide", iteration))

    def decided(self, iteration: int) -> pd.DataFrame:
        """The removal rows of round `iteration`."""
        return step_files.read_decided(self.step("decide", iteration))

    def test_scores(self, iteration: int) -> pd.DataFrame:
        """What model `iteration` gave the test images."""
        return step_files.read_scores(self.step("evaluate", iteration))

    def snapshot(self, iteration: int) -> dict[str, str] | None:
        """DVC version of training set `iteration` (`md5`, `dvc_file`); None where snapshots are off."""
        return step_files.read_snapshot(self.step("snapshot", iteration))

    # What came of it.

    def features(self) -> dict[str, Any]:
        """Images that were read, by split, and the fingerprint of their features."""
        file = self.path / files.FEATURES
        return read_json_object(file) if file.exists() else {}

    def write_features(self, record: Mapping[str, Any]) -> None:
        write_json(self.path / files.FEATURES, dict(record))

    def mlflow(self) -> dict[str, Any] | None:
        """`experiment`, `run` and the number of `review_events` that MLflow has; None before the run is tracked."""
        file = self.path / files.MLFLOW
        return read_json_object(file, "experiment", "run") if file.exists() else None

    def write_mlflow(self, record: Mapping[str, Any]) -> None:
        write_json(self.path / files.MLFLOW, dict(record))

    def iterations(self) -> pd.DataFrame:
        """One row per model."""
        return read_table(self.path / files.ITERATIONS, ITERATIONS_SCHEMA)

    def write_iterations(self, table: pd.DataFrame) -> None:
        write_table(table, self.path / files.ITERATIONS, ITERATIONS_SCHEMA)

    def all_scores(self) -> pd.DataFrame:
        """The scores of all models on their training sets."""
        return read_table(self.path / files.SCORES, SCORES_SCHEMA)

    def write_all_scores(self, table: pd.DataFrame) -> None:
        write_table(table, self.path / files.SCORES, SCORES_SCHEMA)

    def write_all_test_scores(self, table: pd.DataFrame) -> None:
        write_table(table, self.path / files.TEST_SCORES, SCORES_SCHEMA)

    def removals(self) -> pd.DataFrame:
        """The history of removals, a row per decision, with the run's reviews laid over it."""
        return read_table(files.found_in(self.path, files.REMOVALS), REMOVAL_SCHEMA)

    def has_images(self) -> bool:
        """Whether the table of final states is there: older versions wrote none."""
        return (self.path / files.IMAGES).is_file()

    def images(self) -> pd.DataFrame:
        """The final state of every training image."""
        return read_table(self.path / files.IMAGES, IMAGE_SCHEMA)

    def write_removals(self, removals: pd.DataFrame, images: pd.DataFrame) -> None:
        """Write both removal tables."""
        write_table(images, self.path / files.IMAGES, IMAGE_SCHEMA)
        write_table(removals, self.path / files.REMOVALS, REMOVAL_SCHEMA)
        (self.path / files.FORMERLY[files.REMOVALS]).unlink(missing_ok=True)  # of an older run: no longer true

    def reviews(self) -> pd.DataFrame:
        """Review events about this run, made after it."""
        file = self.path / files.REVIEWS
        return read_table(file, REVIEW_SCHEMA) if file.exists() else no_events()

    def is_reviewed(self) -> bool:
        """Whether anybody decided anything about the run after it."""
        return (self.path / files.REVIEWS).is_file()

    def write_reviews(self, events: pd.DataFrame) -> None:
        write_table(events, self.path / files.REVIEWS, REVIEW_SCHEMA)

    @property
    def review_lock(self) -> Path:
        """Held while the reviews and the removal tables are changed: two people may review the same run."""
        return self.path / ".review.lock"

    @property
    def work_lock(self) -> Path:
        """Held while the run is at work: the same command may be given twice."""
        return self.path / ".work.lock"

    @property
    def model(self) -> Path:
        """Folder of the final detector, complete (`irp_core.inspection`)."""
        return self.path / files.MODEL

    @property
    def report(self) -> Path:
        """The run's page."""
        return self.path / files.REPORT

    @property
    def log(self) -> Path:
        """What the run's steps did and said."""
        return self.path / files.LOG

    def first_files(self) -> dict[str, list[Path]]:
        """What is known when the run begins, by artifact folder in MLflow; some may not exist."""
        names = (files.MANIFEST, files.QUARANTINE, files.DUPLICATES, files.DECISIONS)
        return {files.TABLES: [self.path / name for name in names], "": [self.path / files.RECORD]}

    def result_files(self) -> dict[str, list[Path]]:
        """The run's tables, summary and page, by artifact folder in MLflow."""
        return {
            # The reviews first: the removal tables follow from them, also where an upload breaks off.
            files.TABLES: sorted(self.path.glob("*.parquet"), key=lambda file: (file.name != files.REVIEWS, file.name)),
            "": [self.path / name for name in (files.SUMMARY, files.REPORT)],
        }


def is_run(path: Path) -> bool:
    """Whether there is a run in `path`."""
    return (path / files.RECORD).is_file()


def open_run(path: Path) -> RunDirectory:
    """The run in `path`.

    Raises:
        InputError: no run there.
    """
    if not is_run(path):
        raise InputError(f"{path}: expected the directory of a run (with run.json), found none; see `irp runs`.")
    return RunDirectory(path)


def list_runs(directory: Path) -> list[RunDirectory]:
    """All runs below `directory`, newest first; those whose record cannot be read come last."""
    return newest_first(runs_in(directory))


def runs_in(directory: Path) -> list[RunDirectory]:
    """All runs below `directory`, by their ids; nothing of them is read."""
    return [RunDirectory(folder) for folder in run_folders(directory)]


def _read_if_there(file: Path, schema: Any) -> pd.DataFrame:
    if file.exists():
        return read_table(file, schema)
    empty: pd.DataFrame = schema.empty_table().to_pandas()
    return empty
