"""One manifest of digests per run: of every file and of everything else that MLflow holds of its models.

It is an artifact of the run in MLflow, and a DVC version beside the training sets (`snapshots/RUN/digests.json.dvc`),
which git keeps: `irp audit verify` derives its checks from it. The same run gives the same bytes, so that its own
digest, wherever somebody sealed it, stays true as long as nothing changed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from irp_core.atomic import write_json
from irp_core.config import digest
from irp_core.errors import InputError
from irp_core.refinement.reviews import REVIEW_SCHEMA
from irp_core.run.directory import RunDirectory
from irp_core.run.files import DIGESTS
from irp_core.run.lasting import folder_digests
from tasks.tracking.artifacts import FILES_TAG, PENDING_TAG, log_files

__all__ = ["TIMES", "curve_digest", "curves", "described", "digests_target", "events_digest", "write_digests"]

_LOG = logging.getLogger(__name__)
# The directory is another where the project is moved; what is being uploaded is no lasting state.
_PASSING = (FILES_TAG, PENDING_TAG, "irp.directory")
TIMES = ("epoch_seconds",)
"""Metrics that say how long something took."""
_OF_MLFLOW = ("mlflow.parentRunId", "mlflow.source.git.commit")


def write_digests(client: MlflowClient, run: RunDirectory, parent: str, nested: Sequence[str]) -> None:
    """Write the run's manifest of digests, log it, and make it a DVC version where its training sets are.

    Args:
        parent: the run in MLflow; everything else of it has been logged.
        nested: those of its models, in order.
    """
    events = run.reviews()
    content = {
        "run_id": run.run_id,
        "run": described(client, parent),
        "models": [described(client, model) for model in nested],
        "reviews": {"events": len(events), "sha256": events_digest(events.to_dict("records"))},
        "folder": folder_digests(run),
    }
    file = run.path / DIGESTS
    write_json(file, content)
    log_files(client, parent, {"": [file]})
    snapshots = run.params().snapshots
    if snapshots.enabled and run.snapshot(0) is not None:
        from tasks.versions.single_files import version_file

        try:
            version_file(file, digests_target(Path(snapshots.directory), run.run_id), {"irp": {"run": run.run_id}})
        except InputError as error:  # a review on a machine without the repository
            _LOG.warning("%s: is no DVC version yet (%s)", file, error)


def digests_target(snapshots: Path, run_id: str) -> Path:
    """The file that the DVC version of a run's digests is checked out as."""
    return snapshots / run_id / DIGESTS


def described(client: MlflowClient, mlflow_run: str) -> dict[str, Any]:
    """What is held of an MLflow run: its id, name, tags, parameters, last metrics and the curves that they end, and the
    sha256 of every artifact."""
    run = client.get_run(mlflow_run)
    tags = run.data.tags
    own = {key: tags[key] for key in tags if (key.startswith("irp.") and key not in _PASSING) or key in _OF_MLFLOW}
    files = {name: sha256 for name, sha256 in json.loads(tags.get(FILES_TAG, "{}")).items() if name != DIGESTS}
    return {
        "mlflow_run": run.info.run_id,
        "name": run.info.run_name,
        "tags": own,
        "params": dict(run.data.params),
        "metrics": dict(run.data.metrics),
        "curves": {name: curve_digest(client, run, name) for name in curves(run)},
        "files": files,
    }


def curves(run: Run) -> list[str]:
    """The metrics of a run that have points before their last one; of a single point, the metric is all there is.

    How long an epoch took is another number each time it is trained.
    """
    last = {metric.key: metric.step for metric in run.data._metric_objs}
    return sorted(name for name, step in last.items() if step > 0 and name not in TIMES)


def curve_digest(client: MlflowClient, run: Run, name: str) -> str:
    """Digest of the points (step, value) of a metric, to 12 digits: databases write numbers in their own ways."""
    points = {(point.step, f"{point.value:.12g}") for point in client.get_metric_history(run.info.run_id, name)}
    return digest(sorted(points))


def events_digest(events: Sequence[Mapping[str, object]]) -> str:
    """sha256 of review events, in their order."""
    rows = [[None if (value := row[name]) != value else value for name in REVIEW_SCHEMA.names] for row in events]
    return digest(rows)
