"""Weights in the tracking store: those of runs that no registered version needs.

The tables, the lineage and the hashes of everything else stay, so that an audit still answers; the run, and the
versions that were made of it, say when the weights were deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from mlflow.entities import FileInfo, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from irp_core.retention import Item
from irp_core.run.files import MODEL
from tasks.tracking.artifacts import DELETED_TAG, FILES_TAG
from tasks.tracking.queries import experiments, runs_tagged, versions_of

__all__ = ["DELETED_TAG", "delete_weights", "weight_items"]

_PARENT = "mlflow.parentRunId"


def weight_items(client: MlflowClient, held: Mapping[str, str]) -> list[Item]:
    """The weights of each refinement run, with those of its models.

    Args:
        held: MLflow run → why a registered version needs its weights.
    """
    known = experiments(client)
    families: dict[str, list[Run]] = {}
    for run in runs_tagged(client, known, {}) if known else ():
        if "irp.run_id" in run.data.tags:
            families.setdefault(run.data.tags.get(_PARENT, run.info.run_id), []).append(run)
    items = []
    for parent, runs in families.items():
        size = sum(file.file_size or 0 for run in runs for file in _files(client, run.info.run_id, MODEL))
        if size == 0:
            continue
        ended = [run.info.end_time for run in runs]
        tags = runs[0].data.tags
        needed = None
        if reasons := [held[run.info.run_id] for run in runs if run.info.run_id in held]:
            needed = reasons[0]
        elif None in ended:
            needed = "the run is not finished"
        since = max((at for at in ended if at is not None), default=0) / 1000
        items.append(Item("weights", parent, size, since, group=tags.get("irp.dataset", ""), needed=needed))
    return items


def _files(client: MlflowClient, run: str, folder: str) -> Iterator[FileInfo]:
    try:
        listed = client.list_artifacts(run, folder)
    except MlflowException:  # a run without artifacts
        return
    for entry in listed:
        if entry.is_dir:
            yield from _files(client, run, entry.path)
        else:
            yield entry


def delete_weights(client: MlflowClient, parent: str) -> None:
    """Delete the weights of a refinement run and of its models; the runs and their versions note when."""
    for run in [client.get_run(parent), *_children(client, parent)]:
        if not any(_files(client, run.info.run_id, MODEL)):
            continue
        files = json.loads(run.data.tags.get(FILES_TAG, "{}"))
        left = {name: sha256 for name, sha256 in files.items() if name.split("/")[0] != MODEL}
        # The note first: broken off here, the run tells of a deletion, and what is left is deleted the next time.
        now = datetime.now(UTC).isoformat(timespec="seconds")
        client.set_tag(run.info.run_id, DELETED_TAG, now)
        for version in versions_of(client, run.info.run_id):
            client.set_model_version_tag(version.name, version.version, DELETED_TAG, now)
        client.set_tag(run.info.run_id, FILES_TAG, json.dumps(left, sort_keys=True))
        get_artifact_repository(run.info.artifact_uri, tracking_uri=client.tracking_uri).delete_artifacts(MODEL)


def _children(client: MlflowClient, parent: str) -> list[Run]:
    return list(runs_tagged(client, experiments(client), {_PARENT: parent}))
