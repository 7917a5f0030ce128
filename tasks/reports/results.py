"""The run's final tables and summary: what every view of a run (terminal, artifact, page, MLflow) is made from."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
from httpx import TransportError
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from irp_core.atomic import atomic_directory
from irp_core.backbones import load_backbone
from irp_core.features.pooled import resolve_device, resolve_precision
from irp_core.inspection import SavedMaps, save_inspector
from irp_core.removals import standing_removals
from irp_core.results.results import write_result_tables
from irp_core.run.directory import RunDirectory
from irp_core.run.files import REMOVALS
from tasks.fetch.weights import resolve_weights
from tasks.reports.thumbnails import thumbnail_uri
from tasks.runtime.retries import IO_RETRIES

__all__ = ["publish_artifacts", "publish_removed_images", "write_results"]

_LOG = logging.getLogger(__name__)
_ROWS = 200  # of the removal table on Prefect's page: a browser shows them all at once
_ATTACHED = 60  # images shown with a question for approval, about 8 KB each
_ANSWER_SECONDS = 5.0  # of Prefect's server, for a page that shows again what the report shows


@task(task_run_name="write-results", cache_policy=NO_CACHE)
def write_results(
    run_path: str, last_iteration: int, operating: dict[str, Any] | None, located: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Collect the iterations into the run's tables (scores, removals, images, iterations), its model and its summary.

    Args:
        last_iteration: number of the last trained model.
        operating: the final detector's operating point; None: the last round's threshold has to serve.
        located: what `tasks.steps.localise` found; None: the model makes no maps.
    """
    run = RunDirectory(Path(run_path))
    with run.timed("report"):
        summary = write_result_tables(run, last_iteration, operating) | {"maps": located}
        if run.params().run.outputs == "full":
            point = operating or {"threshold": float(summary["last_round"]["threshold"]), "basis": "last round"}
            _save_model(run, last_iteration, point, located)
        # Last: a run is complete when its summary exists.
        run.write_summary(summary)
    return summary


def _save_model(run: RunDirectory, iteration: int, operating: dict[str, Any], located: dict[str, Any] | None) -> None:
    params = run.params()
    backbone = load_backbone(params.features.backbone, resolve_weights(params.features), params.features.layers)
    with atomic_directory(run.model) as folder:
        # As it was resolved here: `auto` may mean another precision, and other scores, where the model is loaded.
        precision = resolve_precision(params.features.precision, resolve_device(params.features.device))
        features = params.features.model_copy(update={"precision": str(precision).removeprefix("torch.")})
        exact = params.model_copy(update={"features": features})
        maps = None if located is None else SavedMaps(located["detector"], located["scale"], run.step("localise"))
        save_inspector(folder, run.step("train", iteration), backbone, exact, operating, maps)


@task(task_run_name="artifacts", cache_policy=NO_CACHE, **IO_RETRIES)
def publish_artifacts(run_path: str) -> None:
    """Show the iterations and the removal table on the flow run's page in Prefect.

    A server that does not answer soon is not waited for: all of it is in the run's folder, its report and MLflow, too.
    """
    run = RunDirectory(Path(run_path))
    patience = {PREFECT_API_REQUEST_TIMEOUT: _ANSWER_SECONDS, PREFECT_CLIENT_MAX_RETRIES: 1}
    with run.timed("prefect"), temporary_settings(patience):
        try:
            _publish(run)
        except (TransportError, PrefectHTTPStatusError) as error:
            _LOG.warning("%s: Prefect's page does not show the results (%s).", run.path, type(error).__name__)


def _publish(run: RunDirectory) -> None:
    key = _artifact_key(run)
    iterations, summary = run.iterations(), run.summary()
    header = "| " + " | ".join(iterations.columns) + " |\n" + "|---" * len(iterations.columns) + "|\n"
    lines = [
        "| " + " | ".join("" if pd.isna(v) else f"{v:.4g}" for v in row) + " |"
        for row in iterations.itertuples(index=False)
    ]
    text = (
        f"# {run.run_id}\n\n{summary['n_removed']} of {summary['n_start']} images removed in "
        f"{summary['iterations']} iterations; stopped: **{summary['stop_reason']}**.\n\n{header}" + "\n".join(lines)
    )
    create_markdown_artifact(text, key=f"{key}-summary", description="Refinement summary")
    columns = ["image_id", "iteration", "score", "threshold", "rule", "decision", "reviewer", "label"]
    removals = run.removals()[columns]
    first = removals.head(_ROWS)
    said = "Removed images"
    if len(removals) > _ROWS:
        said += f": the first {_ROWS} of {len(removals)} rows; all are in {run.path / REMOVALS}"
    table = first.astype(object).where(first.notna(), None)
    create_table_artifact(table.to_dict("records"), key=f"{key}-removed", description=said)
    link = report_link(run)
    create_link_artifact(link, link_text=run.report.name, key=f"{key}-report", description="The run's report")


@task(task_run_name="removed-images", cache_policy=NO_CACHE, **IO_RETRIES)
def publish_removed_images(run_path: str) -> None:
    """Show the removed images themselves on the flow run's page in Prefect, for an approval."""
    run = RunDirectory(Path(run_path))
    shown = standing_removals(run.removals()).sort_values("margin", ascending=False)
    lines = ["| image | name | score | threshold | iteration |", "|---|---|---|---|---|"]
    for row in shown.head(_ATTACHED).itertuples():
        uri = thumbnail_uri(run, row.image_id, row.md5)
        picture = f"![{row.image_id}]({uri})" if uri else "not on this machine"
        lines.append(f"| {picture} | {row.image_id} | {row.score:.4g} | {row.threshold:.4g} | {row.iteration} |")
    if len(shown) > _ATTACHED:
        lines.append(f"\n… and {len(shown) - _ATTACHED} more: `irp review {run.path}`.")
    create_markdown_artifact("\n".join(lines), key=f"{_artifact_key(run)}-images", description="Images up for approval")


def report_link(run: RunDirectory) -> str:
    """Where the run's page is read: on the MLflow server that has it, else as a file."""
    uri = run.params().tracking.uri
    known = run.mlflow()
    if uri.startswith("http") and known is not None:
        place = f"experiments/{known['experiment']}/runs/{known['run']}/artifacts/{run.report.name}"
        return f"{uri.rstrip('/')}/#/{place}"
    return run.report.resolve().as_uri()


def _artifact_key(run: RunDirectory) -> str:
    # Prefect takes a-z, 0-9 and dashes; a data set's folder may be named otherwise.
    return re.sub(r"[^a-z0-9]+", "-", run.run_id.lower()).strip("-")
