"""The MLflow experiment that runs are tracked in."""

from __future__ import annotations

from pathlib import Path

from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from irp_core.errors import InputError
from tasks.tracking.database import ARTIFACTS

__all__ = ["experiment_of"]


def experiment_of(client: MlflowClient, params: Params, suffix: str = "") -> str:
    """The id of `tracking.experiment`, with `suffix` behind its name; made where there is none.

    Raises:
        InputError: it was deleted.
    """
    name = f"{params.tracking.experiment}{suffix}"
    found: Experiment | None = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":  # its name stays taken
        raise InputError(
            f"tracking.experiment {name!r}: expected one that is in use, found a deleted one; "
            f"name another, or restore it (mlflow experiments restore --experiment-id {found.experiment_id})."
        )
    if found is not None:
        return str(found.experiment_id)
    # A server decides where its artifacts go; beside a local database they go where .gitignore expects them.
    local = params.tracking.uri.startswith("sqlite:")
    location = (Path(ARTIFACTS) / name).resolve().as_uri() if local else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:  # another process was quicker
        found = client.get_experiment_by_name(name)
        assert found is not None
        return str(found.experiment_id)
