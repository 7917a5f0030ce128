"""Files among a run's artifacts, each with its sha256 in a tag of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.tracking import MlflowClient

from irp_core.hashing import file_sha256

__all__ = ["DELETED_TAG", "FILES_TAG", "PENDING_TAG", "log_files"]

FILES_TAG = "irp.files"
PENDING_TAG = "irp.files_pending"  # what is being uploaded
DELETED_TAG = "irp.weights_deleted"  # when the weights were deleted on purpose (`irp gc`)


def log_files(
    client: MlflowClient, mlflow_run: str, files: Mapping[str, Sequence[Path]], *, more_follow: bool = False
) -> None:
    """Log files, those that exist, by artifact folder, and note their sha256 in the run's tag `irp.files`.

    What is new or takes another file's place is noted before, too: whoever is killed between the upload and the tag
    leaves no file that passes for one that was tampered with.

    Args:
        more_follow: files that belong to these will be logged next: until then the note stays.
    """
    tags = client.get_run(mlflow_run).data.tags
    known, pending = (json.loads(tags.get(tag, "{}")) for tag in (FILES_TAG, PENDING_TAG))
    existing = [(folder, path) for folder, paths in files.items() for path in paths if path.exists()]
    new = {f"{folder}/{path.name}" if folder else path.name: file_sha256(path) for folder, path in existing}
    if known:  # else nothing is there that these could be at odds with
        pending |= {name: sha256 for name, sha256 in new.items() if known.get(name) != sha256}
    if pending:
        client.set_tag(mlflow_run, PENDING_TAG, json.dumps(pending, sort_keys=True))
    for folder, path in existing:
        client.log_artifact(mlflow_run, str(path), folder or None)
    known |= new
    client.set_tag(mlflow_run, FILES_TAG, json.dumps(known, sort_keys=True))
    if pending and not more_follow:
        left = {name: sha256 for name, sha256 in pending.items() if known.get(name) != sha256}
        client.set_tag(mlflow_run, PENDING_TAG, json.dumps(left, sort_keys=True))
