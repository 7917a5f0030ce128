"""Files that MLflow keeps of a run, each with its sha256 in a tag of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.tracking import MlflowClient

from irp_core.hashing import file_sha256
from tasks.tracking.reader import FILES_TAG, PENDING_TAG

__all__ = ["log_files"]


def log_files(client: MlflowClient, mlflow_run: str, files: Mapping[str, Sequence[Path]]) -> None:
    """Log files, those that exist, by artifact folder, and note their sha256 in the run's tag `irp.files`.

    What takes another file's place is noted before, too: whoever is killed between the upload and the tag leaves no
    file that passes for one that was tampered with.
    """
    tags = client.get_run(mlflow_run).data.tags
    known, pending = (json.loads(tags.get(tag, "{}")) for tag in (FILES_TAG, PENDING_TAG))
    existing = [(folder, path) for folder, paths in files.items() for path in paths if path.exists()]
    new = {f"{folder}/{path.name}" if folder else path.name: file_sha256(path) for folder, path in existing}
    pending |= {name: sha256 for name, sha256 in new.items() if known.get(name, sha256) != sha256}
    if pending:
        client.set_tag(mlflow_run, PENDING_TAG, json.dumps(pending, sort_keys=True))
    for folder, path in existing:
        client.log_artifact(mlflow_run, str(path), folder or None)
    client.set_tag(mlflow_run, FILES_TAG, json.dumps(known | new, sort_keys=True))
    if pending:
        left = {name: sha256 for name, sha256 in pending.items() if name not in new}
        client.set_tag(mlflow_run, PENDING_TAG, json.dumps(left, sort_keys=True))
