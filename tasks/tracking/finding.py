"""Which run a question means: by its id or directory, an MLflow run id, or a registered model."""

from __future__ import annotations

import re
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from irp_core.errors import InputError
from tasks.tracking.queries import client_of, experiments, model_version, runs_tagged
from tasks.tracking.reader import TrackedRun

__all__ = ["all_runs", "find_run"]


def find_run(reference: str, params: Params) -> tuple[TrackedRun, int | None]:
    """The run that a reference means, and the iteration if it names one.

    References: a run's id or directory, an MLflow run id, or a registered model `NAME`, `NAME/version`,
    `NAME@alias`; each may end in `:ITERATION`.

    Raises:
        InputError: nothing of that name.
    """
    plain, _, suffix = reference.rpartition(":") if re.fullmatch(r".*[^/]:\d+", reference) else (reference, "", "")
    iteration = int(suffix) if suffix else None
    client = client_of(params)
    tags = {"irp.run_id": Path(plain).name, "irp.iteration": "all"}
    runs = list(runs_tagged(client, experiments(client), tags))
    if runs:
        # Where several clones ran the same: the directory's own, else the newest that ended, else the newest.
        here = str(Path(plain).resolve())
        runs.sort(key=lambda run: (run.data.tags.get("irp.directory") != here, run.info.status != "FINISHED"))
        return TrackedRun(client, runs[0]), iteration
    if re.fullmatch(r"[0-9a-f]{32}", plain):
        found = _by_mlflow_id(client, plain)
        if found is not None:
            return found if iteration is None else (found[0], iteration)
    version = model_version(plain, client)
    if version is None:
        raise InputError(
            f"{reference}: expected a run or a registered model at {params.tracking.uri} (RUN, NAME, NAME/version or "
            f"NAME@alias, each with :ITERATION if wanted), found neither."
        )
    found = _by_mlflow_id(client, str(version.run_id))
    if found is None:
        raise InputError(f"{reference}: expected a model that a refinement run registered, found another's.")
    return found[0], iteration


def all_runs(params: Params) -> list[TrackedRun]:
    """Every refinement run in the store, of all experiments, newest first."""
    client = client_of(params)
    return [TrackedRun(client, run) for run in runs_tagged(client, experiments(client), {"irp.iteration": "all"})]


def _by_mlflow_id(client: MlflowClient, mlflow_id: str) -> tuple[TrackedRun, int | None] | None:
    try:
        run = client.get_run(mlflow_id)
    except MlflowException:
        return None
    if "irp.run_id" not in run.data.tags:
        return None
    parent = run.data.tags.get("mlflow.parentRunId")
    if parent is None:
        return TrackedRun(client, run), None
    return TrackedRun(client, client.get_run(parent)), int(run.data.tags["irp.iteration"])
