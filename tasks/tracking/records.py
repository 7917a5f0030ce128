"""What became of a line's versions, on record in MLflow: a run each for every promotion, refusal and rollback.

A record is begun before the aliases change and finished when they have: whoever is killed between leaves one that is
`RUNNING`, which the next one completes (`tasks.promotion.registry`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from tasks.tracking.artifacts import log_files
from tasks.tracking.experiment import experiment_of
from tasks.tracking.queries import experiments, runs_tagged

__all__ = [
    "ASKED",
    "PROMOTED",
    "REFUSED",
    "ROLLED_BACK",
    "Record",
    "begin_record",
    "finish_record",
    "note_replaced",
    "records_of",
    "table_of",
]

ASKED, PROMOTED, REFUSED, ROLLED_BACK = "asked", "promoted", "refused", "rolled back"
_SUFFIX = "-lines"
_TAGS = ("line", "event", "version", "replaced", "by", "why", "at", "round", "verdict")


@dataclass(frozen=True)
class Record:
    """One event in the life of a line.

    Attributes:
        mlflow_run: where the comparison's table and page are.
        version: the version that it is about.
        replaced: the version in service before; of a rollback, the one that is in service since. None: none.
        by: a person's name, or `policy MODE`.
        at: UTC, in ISO 8601.
        done: whether the aliases say so, too.
    """

    mlflow_run: str
    line: str
    event: str
    version: str
    replaced: str | None
    by: str
    why: str
    at: str
    round: str | None
    verdict: str | None
    done: bool

    @property
    def by_policy(self) -> bool:
        return self.by.startswith("policy ")


def begin_record(
    client: MlflowClient,
    params: Params,
    *,
    line: str,
    event: str,
    version: str,
    replaced: str | None,
    by: str,
    why: str,
    round: str | None = None,
    verdict: str | None = None,
    files: Sequence[Path] = (),
) -> Record:
    """Put an event on record before it is carried out.

    Args:
        files: the comparison's table and page.
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    values = {
        "line": line, "event": event, "version": version, "replaced": replaced, "by": by, "why": why, "at": at,
        "round": round, "verdict": verdict,
    }  # fmt: skip
    tags = {f"irp.{name}": value for name, value in values.items() if value is not None}
    tags |= {"irp.record": "line", "mlflow.source.name": "irp"}
    experiment = experiment_of(client, params, _SUFFIX)
    run = client.create_run(experiment, run_name=f"{line}/{version} {event}", tags=tags)
    log_files(client, run.info.run_id, {"comparison": list(files)})
    return _record(client.get_run(run.info.run_id))


def note_replaced(client: MlflowClient, record: Record, replaced: str) -> Record:
    """Correct what a promotion replaced: it began at the same time as another one."""
    client.set_tag(record.mlflow_run, "irp.began_with", record.replaced or "none")
    client.set_tag(record.mlflow_run, "irp.replaced", replaced)
    return replace(record, replaced=replaced)


def finish_record(client: MlflowClient, record: Record) -> None:
    """Note that the aliases say so, too."""
    client.set_terminated(record.mlflow_run, "FINISHED", end_time=int(time.time() * 1000))


def records_of(client: MlflowClient, line: str) -> list[Record]:
    """The events of a line, the first first."""
    tags: Mapping[str, str] = {"irp.record": "line", "irp.line": line}
    found = [_record(run) for run in runs_tagged(client, experiments(client), tags)]
    return sorted(found, key=lambda record: (record.at, record.mlflow_run))


def table_of(records: Sequence[Record]) -> pd.DataFrame:
    """A row per event."""
    columns = ["at", "event", "version", "replaced", "by", "why", "round", "verdict", "done", "mlflow_run"]
    return pd.DataFrame([vars(record) for record in records], columns=columns, dtype=object)


def _record(run: Run) -> Record:
    tags: dict[str, Any] = run.data.tags
    values: dict[str, Any] = {name: tags.get(f"irp.{name}") for name in _TAGS}
    return Record(mlflow_run=run.info.run_id, done=run.info.status == "FINISHED", **values)
