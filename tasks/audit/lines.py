"""An auditor's questions about a line: which version was in service when, and who decided it."""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

from irp_core.config import Params
from irp_core.errors import InputError
from tasks.tracking.queries import client_of
from tasks.tracking.reader import TrackedRun
from tasks.tracking.records import PROMOTED, ROLLED_BACK, Record, records_of, table_of

__all__ = ["describe_line", "service_of"]


def describe_line(line: str, params: Params) -> tuple[dict[str, Any], pd.DataFrame]:
    """The versions of a line with an alias, since when the one in service is, and all events, the first first.

    Raises:
        InputError: nothing is known of a line of this name.
    """
    client = client_of(params)
    records = records_of(client, line)
    try:
        aliases = {alias: str(v) for alias, v in dict(client.get_registered_model(line).aliases).items()}
    except MlflowException:
        aliases = {}
    if not records and not aliases:
        raise InputError(f"{line}: expected a line with versions at {params.tracking.uri}, found none.")
    versions = list(client.search_model_versions(f"name='{line}'"))
    champion = aliases.get("champion")
    tags = next((version.tags for version in versions if str(version.version) == champion), {})
    facts = {
        "line": line,
        "versions": len(versions),
        **{alias: f"{line}/{version}" for alias, version in sorted(aliases.items())},
        "in service since": _since(champion, records),
        "its run": tags.get("irp.run_id"),
        "its data set": tags.get("irp.dvc_file"),
        "its DVC version": tags.get("irp.dvc_md5"),
        "committed in": tags.get("irp.set_commit"),
    }
    return facts, table_of(records)


def service_of(run: TrackedRun) -> dict[str, Any]:
    """What became of a run's last model as a version of a line: `line3/7` → its events; of no line, no facts."""
    facts: dict[str, Any] = {}
    for version in run.client.search_model_versions(f"run_id='{run.parent.info.run_id}'"):
        if line := version.tags.get("irp.line"):
            events = [r for r in records_of(run.client, line) if str(version.version) in (r.version, r.replaced)]
            told = (_said(record, str(version.version)) for record in events)
            facts[f"{line}/{version.version}"] = "; ".join(filter(None, told)) or None
    return facts


def _since(champion: str | None, records: list[Record]) -> str | None:
    for record in reversed(records):
        now = record.version if record.event == PROMOTED else record.replaced if record.event == ROLLED_BACK else None
        if now is not None and now == champion:
            return f"{record.at}, {record.event} by {record.by}: {record.why}"
    return None


def _said(record: Record, version: str) -> str:
    if record.version == version:
        return f"{record.event} {record.at} by {record.by} ({record.why})"
    what = "in service again" if record.event == ROLLED_BACK else f"followed by {record.line}/{record.version}"
    return f"{what} {record.at} by {record.by}" if record.event in (PROMOTED, ROLLED_BACK) else ""
