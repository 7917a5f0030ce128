"""The manifest of digests that a run's checks are derived from: MLflow's copy, held against DVC's and against seals."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irp_core.atomic import read_json_object
from irp_core.audit.findings import Finding, finding
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.hashing import file_md5, file_sha256
from irp_core.run.directory import is_run
from irp_core.run.files import DIGESTS
from tasks.tracking.digests import digests_target
from tasks.tracking.reader import TrackedRun
from tasks.versions.dvc_files import counted_in, dvc_file_of, version_of
from tasks.versions.lineage import WEIGHTS_TAG

__all__ = ["KnownDigests", "final_weights_sha256", "is_at_home", "seal_tag"]

_KEYS = ("run_id", "run", "models", "reviews", "folder")


@dataclass(frozen=True)
class KnownDigests:
    """What a run's manifest of digests says.

    Attributes:
        content: None where there is none, or none that can be read.
        findings: of the manifest itself.
    """

    content: dict[str, Any] | None
    findings: list[Finding]

    @classmethod
    def of(cls, run: TrackedRun, params: Params, seals: Path | None = None) -> KnownDigests:
        """Find the manifest, and hold its copies against each other.

        Args:
            seals: an auditor's file of seals (`tasks.audit.seal`) that the manifest has to agree with.
        """
        file, findings = _of_mlflow(run, params)
        if file is None:
            return cls(None, findings)
        findings += _of_dvc(run, file, params)
        findings += _sealed(run.run_id, file_sha256(file), seals)
        try:
            content = read_json_object(file, *_KEYS)
        except InputError as error:
            return cls(None, [*findings, Finding("digests", "run", "failed", str(error))])
        if content["run_id"] != run.run_id:
            wrong = f"MLflow's run {run.parent.info.run_id} is tagged as {run.run_id}, its digests are of "
            return cls(content, [*findings, Finding("digests", "run", "failed", wrong + str(content["run_id"]))])
        return cls(content, findings)

    def entry(self, mlflow_run: str) -> dict[str, Any] | None:
        """What the manifest has of one run in MLflow; None where it has nothing."""
        return next((entry for entry in self.entries() if entry["mlflow_run"] == mlflow_run), None)

    def entries(self) -> list[dict[str, Any]]:
        """The run's, and those of its models in order."""
        return [] if self.content is None else [self.content["run"], *self.content["models"]]

    @property
    def folder(self) -> Mapping[str, str]:
        return {} if self.content is None else self.content["folder"]


def is_at_home(run_id: str, params: Params) -> bool:
    """Whether the current directory is the project that a run was made in, with all that belongs to it."""
    return is_run(Path(params.run.directory) / run_id)


def _of_mlflow(run: TrackedRun, params: Params) -> tuple[Path | None, list[Finding]]:
    named = version_of(_dvc_file(run.run_id, params)) is not None
    if not run.has(DIGESTS):
        if run.parent.info.status != "FINISHED":
            return None, [Finding("digests", "run", "skipped", "its tracking did not end: `irp refine` again ends it")]
        if named or run.record().get("digests"):
            return None, [Finding("digests", "run", "failed", f"{DIGESTS} is not in MLflow, although it was logged")]
        return None, [Finding("digests", "run", "skipped", "made by irp up to 0.7, which wrote none")]
    try:
        file = run.file(DIGESTS, verify=False)
    except InputError as error:
        return None, [Finding("digests", "run", "failed", str(error))]
    found = file_sha256(file)
    wrong = [] if run.is_logged(DIGESTS, found) else [f"{DIGESTS} was changed after it was logged ({found[:12]}…)"]
    return file, [finding("digests", "MLflow", wrong, f"sha256 {found[:12]}…")]


def _of_dvc(run: TrackedRun, file: Path, params: Params) -> Iterator[Finding]:
    dvc_file = _dvc_file(run.run_id, params)
    version = version_of(dvc_file)
    md5 = file_md5(file)
    if version is not None:
        wrong = [] if version == md5 else [f"{dvc_file} names the version {version[:12]}…, MLflow has {md5[:12]}…"]
        size = file.stat().st_size
        if (said := counted_in(dvc_file).get("size", size)) != size and not wrong:
            wrong = [f"{dvc_file} says {said} bytes, the version has {size}"]
        yield finding("digests", "DVC", wrong, f"{dvc_file} names the same version")
    elif dvc_file.exists():
        yield Finding("digests", "DVC", "failed", f"{dvc_file} names no version")
    elif run.models and run.models[0].data.tags.get("irp.dvc_md5") and is_at_home(run.run_id, params):
        yield Finding("digests", "DVC", "failed", f"{dvc_file} is gone")


def _dvc_file(run_id: str, params: Params) -> Path:
    return dvc_file_of(digests_target(Path(params.snapshots.directory), run_id))


def _sealed(run_id: str, sha256: str, seals: Path | None) -> Iterator[Finding]:
    """The newest seal of the run in a file, and in this repository's tags."""
    places: list[tuple[str, list[str]]] = []
    if seals is not None:
        try:
            lines = [line.split("  ") for line in seals.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{seals}: expected a file of seals, found none ({error}).") from None
        places.append((str(seals), [line[0] for line in lines if len(line) >= 2 and line[1] == run_id]))
    if tags := _tags(run_id):
        places.append(("git tag", tags))
    for place, known in places:
        if not known:
            yield Finding("seal", place, "failed", f"no seal of {run_id}")
            continue
        wrong = [] if known[-1] == sha256 else [f"sealed was {known[-1][:12]}…, the digests are {sha256[:12]}…"]
        yield finding("seal", place, wrong, f"sealed as {sha256[:12]}…")


def final_weights_sha256(run: TrackedRun) -> str:
    """Digest of the final detector's weights, which is the last model's unless it was trained after that."""
    return run.tags.get(WEIGHTS_TAG) or str(run.models[-1].data.tags[WEIGHTS_TAG])


def seal_tag(run_id: str, sha256: str) -> str:
    """The git tag that seals a run's digests; a run's id may hold what git allows in no name."""
    name = hashlib.sha256(run_id.encode()).hexdigest()[:8] + "-" + re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)
    return f"irp-seal/{name}/{sha256}"


def _tags(run_id: str) -> list[str]:
    pattern = seal_tag(run_id, "*")
    command = ["git", "for-each-ref", "--sort=creatordate", "--format=%(refname)", f"refs/tags/{pattern}"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return []
    return [line.rpartition("/")[2] for line in found.stdout.splitlines()] if found.returncode == 0 else []
