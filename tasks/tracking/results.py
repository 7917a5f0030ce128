"""What MLflow holds of a refinement that ended: tables, page, approval, digests, and the registered model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from irp_core.refinement.reviews import approval
from irp_core.run.directory import RunDirectory
from irp_core.run.files import REMOVALS_SHOWN
from tasks.tracking.artifacts import log_files
from tasks.tracking.digests import write_digests

__all__ = ["log_results", "register"]


def log_results(client: MlflowClient, run: RunDirectory, parent: str, nested: Sequence[str]) -> None:
    """Log the run's final tables and page, and, last, the digests of all that is held of it.

    The removal table is logged also as one that MLflow's own page displays.
    """
    files = run.result_files()
    with tempfile.TemporaryDirectory() as temporary:
        shown = Path(temporary) / REMOVALS_SHOWN
        # What `log_table` writes; that function would append to the table of an earlier try.
        run.removals().to_json(shown, orient="split", index=False)
        log_files(client, parent, {**files, "": [*files[""], shown]}, more_follow=True)
    client.set_tag(parent, "mlflow.loggedArtifacts", json.dumps([{"path": shown.name, "type": "table"}]))
    approved = approval(run.reviews())
    for tag, column in (("irp.approved_by", "reviewer"), ("irp.approved_at", "reviewed_at")):
        if approved:
            client.set_tag(parent, tag, approved[column])
        elif tag in client.get_run(parent).data.tags:  # a decision came after the approval
            client.delete_tag(parent, tag)
    write_digests(client, run, parent, nested)


def register(client: MlflowClient, params: Params, parent: str) -> None:
    """Register the parent run's model, once, where a name is given and the run kept the model."""
    name = params.tracking.registered_model
    if name is None or params.run.outputs != "full":
        return
    try:
        client.create_registered_model(name)
    except MlflowException:
        # By the run: a name may have a quote, for which MLflow's filters know no escape.
        if any(version.name == name for version in client.search_model_versions(f"run_id='{parent}'")):
            return
    source = f"{client.get_run(parent).info.artifact_uri}/model"
    client.create_model_version(name, source=source, run_id=parent)
