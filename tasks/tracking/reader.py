"""Read what MLflow holds of refinement runs: on any machine, years later, without the run's directory.

Every artifact's sha256 is a tag of its run; a file that differs from it is refused, never read. Imports neither Prefect
nor torch: a question is answered in the time that MLflow itself takes to import.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pandas as pd
import pyarrow as pa
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import tasks.runtime.environment  # noqa: F401  (quiets MLflow)
from irp_core.atomic import read_json
from irp_core.config import Params
from irp_core.data.manifest import MANIFEST_SCHEMA, read_table
from irp_core.data.schemas import ITERATIONS_SCHEMA, NEAR_COPIES_SCHEMA, SCORES_SCHEMA
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.model_files import LOCALISER, WEIGHTS
from irp_core.params_file import recorded_params
from irp_core.refinement.reviews import REVIEW_SCHEMA, no_events
from irp_core.removals import IMAGE_SCHEMA, REMOVAL_SCHEMA, empty_removals
from irp_core.run import files
from tasks.tracking.artifacts import FILES_TAG, PENDING_TAG
from tasks.tracking.queries import runs_tagged

__all__ = ["TrackedRun"]

_CACHE = Path(".irp/audit")


@dataclass(frozen=True)
class TrackedRun:
    """One refinement run: its parent run in MLflow, and the nested run of each model."""

    client: MlflowClient
    parent: Run
    # Whether a file that was changed after it was logged is refused, or read as it is.
    checked: bool = True
    # (MLflow run, artifact) → what was fetched from the server, and what was held against its digest: neither is done
    # twice for one question.
    _fetched: dict[tuple[str, str], Path] = field(default_factory=dict, repr=False, compare=False)
    _held: dict[tuple[str, str], Path] = field(default_factory=dict, repr=False, compare=False)

    @property
    def here(self) -> bool:
        """Whether its artifacts lie on this machine: else each that is read is fetched first."""
        return _local(self.parent) is not None

    @property
    def run_id(self) -> str:
        return str(self.tags["irp.run_id"])

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.parent.data.tags)

    @cached_property
    def models(self) -> list[Run]:
        """The nested runs, in the order of their iterations."""
        # A registered model answers for itself, though somebody deleted its run or its experiment (until `mlflow gc`).
        deleted = self.parent.info.lifecycle_stage == "deleted"
        found = runs_tagged(
            self.client,
            [self.parent.info.experiment_id],
            {"mlflow.parentRunId": self.parent.info.run_id},
            ViewType.ALL if deleted else ViewType.ACTIVE_ONLY,
        )
        return sorted(found, key=lambda run: int(run.data.tags["irp.iteration"]))

    def model(self, iteration: int | None) -> Run:
        """The nested run of one model, by default the last.

        Raises:
            InputError: no such iteration.
        """
        if not self.models:
            raise InputError(f"{self.run_id}: expected at least one trained model in MLflow, found none.")
        last = len(self.models) - 1
        wanted = last if iteration is None else iteration
        if not 0 <= wanted <= last:
            raise InputError(f"{self.run_id}: expected an iteration from 0 to {last}. Got {wanted}.")
        return self.models[wanted]

    def as_it_is(self) -> TrackedRun:
        """The same run, whose files are read whether or not they were changed."""
        return replace(self, checked=False)

    def record(self) -> dict[str, Any]:
        """What was asked for."""
        return self._record

    def params(self) -> Params:
        return recorded_params(self.record(), f"{self.run_id}: {files.RECORD}")

    def data_root(self) -> Path:
        """Where the images lay on the machine that trained."""
        return Path(self.record()["data_root"])

    @property
    def ended(self) -> bool:
        """Whether the refinement ended: else there is neither a summary nor a table of the whole run's."""
        return self.has(files.SUMMARY)

    def summary(self) -> dict[str, Any]:
        """How the run ended.

        Raises:
            InputError: it did not.
        """
        return files.with_new_names(self._summary)

    @cached_property
    def _record(self) -> dict[str, Any]:
        return dict(read_json(self.file(files.RECORD, verify=self.checked)))

    @cached_property
    def _summary(self) -> dict[str, Any]:
        return dict(read_json(self.file(files.SUMMARY, verify=self.checked)))

    # The run's tables; with `column=value` only the rows with it.

    @property
    def has_manifest(self) -> bool:
        return self.has(f"{files.TABLES}/{files.MANIFEST}")

    def manifest(self, **where: object) -> pd.DataFrame:
        return self._table(files.MANIFEST, MANIFEST_SCHEMA, where=where)

    def near_copies(self) -> pd.DataFrame:
        """The groups of near-copies; no rows of an older run."""
        name = f"{files.TABLES}/{files.NEAR_COPIES}"
        if self.has(name):
            return self._table(files.NEAR_COPIES, NEAR_COPIES_SCHEMA)
        empty: pd.DataFrame = NEAR_COPIES_SCHEMA.empty_table().to_pandas()
        return empty

    def iterations(self) -> pd.DataFrame:
        return self._table(files.ITERATIONS, ITERATIONS_SCHEMA)

    def all_scores(self, **where: object) -> pd.DataFrame:
        return self._table(files.SCORES, SCORES_SCHEMA, where=where)

    def removals(self, **where: object) -> pd.DataFrame:
        """The history of removals; no rows where the run has none yet."""
        if not self.has(self._known(f"{files.TABLES}/{files.REMOVALS}")):
            return empty_removals()
        return self._table(files.REMOVALS, REMOVAL_SCHEMA, where=where)

    def images(self) -> pd.DataFrame | None:
        """The final state of every training image; None of an older run."""
        if not self.has(f"{files.TABLES}/{files.IMAGES}"):
            return None
        return self._table(files.IMAGES, IMAGE_SCHEMA)

    def decisions(self) -> pd.DataFrame:
        """Reviewers' decisions that stood when the run began."""
        return self._events(files.DECISIONS)

    def reviews(self) -> pd.DataFrame:
        """Review events about the run, made after it."""
        return self._events(files.REVIEWS)

    # What each model left; the numbers are those of `irp_core.run.directory`.

    def scores(self, iteration: int, **where: object) -> pd.DataFrame:
        return self._table(files.SCORES, SCORES_SCHEMA, self.model(iteration), where=where)

    def outside(self, iteration: int) -> pd.DataFrame:
        return self._table(files.OUTSIDE, SCORES_SCHEMA, self.model(iteration))

    def landscape(self, iteration: int) -> pd.DataFrame:
        """Where each image stood among the others (`irp_core.refinement.careful.landscape.Landscape.of_table`)."""
        artifact = f"{files.TABLES}/{files.LANDSCAPE}"
        return pd.read_parquet(self.file(artifact, self.model(iteration), verify=False))

    def decided(self, iteration: int) -> pd.DataFrame:
        """The removal rows of round `iteration`; of round 0 those of decisions that stood when the run began."""
        if iteration == len(self.models):  # the last round trained no model of its own
            return self._table(files.DECIDED, REMOVAL_SCHEMA, self.models[-1], files.LAST_ROUND)
        return self._table(files.DECIDED, REMOVAL_SCHEMA, self.model(iteration))

    def weights(self, holder: Run | None = None) -> str | None:
        """The artifact with a model's weights (of the final detector unless a nested run is given), if it was kept."""
        found = (name for name in self.known_files(holder) if name.endswith(f"/{WEIGHTS}"))
        # Beside a model's detector may lie another, which says where: it is not what was trained and decides.
        return next((name for name in found if not name.endswith(f"/{LOCALISER}/{WEIGHTS}")), None)

    def known_files(self, run: Run | None = None) -> dict[str, str]:
        """sha256 by artifact path, as tagged when the artifacts were logged."""
        return dict(json.loads((run or self.parent).data.tags.get(FILES_TAG, "{}")))

    def has(self, artifact: str, run: Run | None = None) -> bool:
        return artifact in self.known_files(run)

    def is_logged(self, artifact: str, sha256: str, run: Run | None = None) -> bool:
        """Whether that is what was logged: as it was tagged, or by an upload that broke off before the tag was set."""
        tags = (run or self.parent).data.tags
        return any(json.loads(tags.get(tag, "{}")).get(artifact) == sha256 for tag in (FILES_TAG, PENDING_TAG))

    @property
    def broken_off(self) -> bool:
        """Whether an upload of the run's tables broke off: some may be newer than others."""
        return bool(json.loads(self.tags.get(PENDING_TAG, "{}")))

    def file(self, artifact: str, run: Run | None = None, *, verify: bool = True) -> Path:
        """A local copy of an artifact (of the parent unless a nested `run` is given).

        Without `verify` it is what the store holds, whatever that is.

        Raises:
            InputError: there is none, or (with `verify`) its sha256 is not the one that was logged.
        """
        source = run or self.parent
        key = (source.info.run_id, artifact)
        if verify and key in self._held:
            return self._held[key]
        expected = self.known_files(source).get(artifact)
        cached = _CACHE / expected if expected and not _local(source) else None
        if verify and cached is not None and cached.exists() and file_sha256(cached) == expected:
            self._held[key] = cached
            return cached
        path = self._fetch(source, artifact)
        if verify and expected and not self.is_logged(artifact, found := file_sha256(path), source):
            raise InputError(
                f"{self.run_id}, artifact {artifact}: expected sha256 {expected[:16]}…, found {found[:16]}…; it was "
                f"changed after it was logged (irp audit verify {self.run_id})."
            )
        if verify:
            self._held[key] = path
        return path

    def check_files(self, folder: Path, artifact: str) -> None:
        """Hold a local copy of a folder of artifacts against the digests that were tagged when they were logged.

        Raises:
            InputError: a file is missing or was changed.
        """
        known = [name for name in self.known_files() if name.startswith(f"{artifact}/")]
        if not known:
            raise InputError(f"{self.run_id}: expected the digests of {artifact}/ among the run's tags, found none.")
        for name in known:
            found = file_sha256(folder / name.removeprefix(f"{artifact}/"))
            if not self.is_logged(name, found):
                raise InputError(f"{self.run_id}, artifact {name}: was changed after it was logged ({found[:16]}…).")

    def _fetch(self, source: Run, artifact: str) -> Path:
        missing = InputError(f"{self.run_id}: expected the artifact {artifact} in MLflow, found none.")
        if local := _local(source):
            if not (local / artifact).is_file():
                raise missing
            return local / artifact
        key = (source.info.run_id, artifact)
        if key in self._fetched:
            return self._fetched[key]
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
            try:
                got = Path(self.client.download_artifacts(source.info.run_id, artifact, temporary))
            except (MlflowException, OSError):  # the artifact stores raise either
                raise missing from None
            # Kept under its own hash: a file that was changed can never pass for the one that was logged.
            self._fetched[key] = got.replace(_CACHE / file_sha256(got))
        return self._fetched[key]

    def _known(self, artifact: str, run: Run | None = None) -> str:
        """An artifact's name, the former one if the run has only that."""
        former = files.FORMERLY.get(artifact, artifact)
        return former if self.has(former, run) and not self.has(artifact, run) else artifact

    def _table(
        self,
        name: str,
        schema: pa.Schema,
        run: Run | None = None,
        folder: str = files.TABLES,
        where: Mapping[str, object] | None = None,
    ) -> pd.DataFrame:
        return read_table(self.file(self._known(f"{folder}/{name}", run), run, verify=self.checked), schema, where)

    def _events(self, name: str) -> pd.DataFrame:
        artifact = f"{files.TABLES}/{name}"
        if self.has(artifact):
            return self._table(name, REVIEW_SCHEMA)
        if artifact in json.loads(self.tags.get(PENDING_TAG, "{}")):  # an upload of the first ones broke off
            with suppress(InputError):
                return self._table(name, REVIEW_SCHEMA)
        return no_events()


def _local(run: Run) -> Path | None:
    """The artifact folder of a run whose artifacts lie on this machine."""
    uri = urlparse(str(run.info.artifact_uri))
    return Path(unquote(uri.path)) if uri.scheme in ("", "file") else None
