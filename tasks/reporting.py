"""The run's final tables and summary: what every view of a run (terminal, artifact, page, MLflow) is made from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from irp_core.atomic import atomic_directory, read_json, write_json
from irp_core.backbones import load_backbone
from irp_core.evaluation import detection, removal
from irp_core.features import resolve_device, resolve_precision
from irp_core.inspection import save_inspector
from irp_core.manifest import read_table, testing_rows, training_rows, write_table
from irp_core.removals import REMOVAL_SCHEMA, excluded_rows, review_removals, standing_removals, with_truth
from irp_core.tables import ITERATIONS_SCHEMA, SCORES_SCHEMA
from tasks.operating import contamination_of
from tasks.refining import policy_of_run, training_set
from tasks.retries import IO_RETRIES
from tasks.rundir import RunDirectory
from tasks.thumbnails import thumbnail_uri
from tasks.weights import resolve_weights

__all__ = ["decided_removals", "publish_artifacts", "publish_removed_images", "write_removals", "write_results"]

_ATTACHED = 60  # images shown with a question for approval, about 8 KB each


@task(task_run_name="write-results", cache_policy=NO_CACHE)
def write_results(run_path: str, last_iteration: int, operating: dict[str, Any] | None) -> dict[str, Any]:
    """Collect the iterations into `scores`, `removed`, `test_scores` and `iterations` tables, `model/`, `summary.json`.

    Args:
        last_iteration: number of the last trained model.
        operating: the final detector's operating point; None: the last look's threshold has to serve.
    """
    run = RunDirectory(Path(run_path))
    with run.timed("report"):
        manifest = run.manifest()
        policy = policy_of_run(run)
        policy_stop = read_json(run.step("decide", last_iteration + 1) / "decision.json")
        iterations = range(last_iteration + 1)
        removed = decided_removals(run, last_iteration + 1)
        write_removals(run, last_iteration)
        for step, name in (("score", "scores"), ("evaluate", "test_scores")):
            tables = [_table(run, step, k, "scores", SCORES_SCHEMA) for k in iterations if run.key(step, k)]
            if tables:
                write_table(pd.concat(tables, ignore_index=True), run.path / f"{name}.parquet", SCORES_SCHEMA)
        rows = [_row(run, k, manifest, removed) for k in iterations]
        table = pd.DataFrame(rows, columns=ITERATIONS_SCHEMA.names)
        write_table(table, run.path / "iterations.parquet", ITERATIONS_SCHEMA)
        summary = {
            "run_id": run.run_id,
            "stop_reason": policy_stop["stop_reason"],
            "iterations": last_iteration,
            "n_start": len(training_rows(manifest)),
            "n_removed": len(training_rows(manifest)) - len(training_set(run, last_iteration)),
            "n_injected": int(manifest["injected"].sum()),
            "contamination": contamination_of(run, last_iteration, policy),
            "operating": operating,
            "last_look": {name: policy_stop[name] for name in ("threshold", "supported", "max_score", "n_above")},
        }
        if run.params().run.outputs == "full":
            point = operating or {"threshold": float(policy_stop["threshold"]), "basis": "last look"}
            _save_model(run, last_iteration, point)
        # Last: a run is complete when its summary exists.
        write_json(run.path / "summary.json", summary)
    return summary


def decided_removals(run: RunDirectory, last_look: int) -> pd.DataFrame:
    """What the refinement decided up to the look `last_look`, before any review of the run."""
    manifest = run.manifest()
    kept_out = with_truth(excluded_rows(run.decisions(), training_rows(manifest)), manifest)
    looks = [_table(run, "decide", k, "removed", REMOVAL_SCHEMA) for k in range(1, last_look + 1)]
    tables = [table for table in (kept_out, *looks) if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else kept_out


def write_removals(run: RunDirectory, last_iteration: int) -> pd.DataFrame:
    """Write the run's `removed.parquet`, whole: what the refinement decided, with the run's reviews laid over it."""
    look = read_json(run.step("decide", last_iteration + 1) / "decision.json")
    scores = _table(run, "score", last_iteration, "scores", SCORES_SCHEMA)
    table = review_removals(decided_removals(run, last_iteration + 1), run.reviews(), scores, look)
    table = with_truth(table, run.manifest())
    write_table(table, run.path / "removed.parquet", REMOVAL_SCHEMA)
    return table


def _save_model(run: RunDirectory, iteration: int, operating: dict[str, Any]) -> None:
    params = run.params()
    backbone = load_backbone(params.features.backbone, resolve_weights(params.features), params.features.layers)
    with atomic_directory(run.path / "model") as folder:
        # As it was resolved here: `auto` may mean another precision, and other scores, where the model is loaded.
        precision = resolve_precision(params.features.precision, resolve_device(params.features.device))
        features = params.features.model_copy(update={"precision": str(precision).removeprefix("torch.")})
        exact = params.model_copy(update={"features": features})
        save_inspector(folder, run.step("train", iteration), backbone, exact, operating)


def _table(run: RunDirectory, step: str, iteration: int, name: str, schema: pa.Schema) -> pd.DataFrame:
    return read_table(run.step(step, iteration) / f"{name}.parquet", schema)


def _row(run: RunDirectory, iteration: int, manifest: pd.DataFrame, removed: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {
        "iteration": iteration,
        "n_train": len(_table(run, "score", iteration, "scores", SCORES_SCHEMA)),
    }
    row |= {"n_removed": 0, "n_restored": 0}
    if iteration > 0:
        decision = read_json(run.step("decide", iteration) / "decision.json")
        names = ("n_removed", "n_restored", "threshold", "supported", "max_score", "n_above")
        row |= {name: decision[name] for name in names}
    tested = testing_rows(manifest)
    if run.key("evaluate", iteration):
        scores = _table(run, "evaluate", iteration, "scores", SCORES_SCHEMA)
        found = detection(scores["score"], tested["label"] == "defective")
        row |= {"auroc": found.auroc, "average_precision": found.average_precision}
    so_far = standing_removals(removed, iteration)
    if manifest["label"].notna().any():
        quality = removal(so_far["injected"].eq(True).tolist(), int(manifest["injected"].sum()))
        row |= {"removal_precision": quality.precision, "removal_recall": quality.recall}
    return row


@task(task_run_name="artifacts", cache_policy=NO_CACHE, **IO_RETRIES)
def publish_artifacts(run_path: str) -> None:
    """Show the iterations and the removal table on the flow run's page in Prefect."""
    run = RunDirectory(Path(run_path))
    with run.timed("prefect"):
        key = _artifact_key(run)
        iterations = read_table(run.path / "iterations.parquet", ITERATIONS_SCHEMA)
        summary = read_json(run.path / "summary.json")
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
        removed = read_table(run.path / "removed.parquet", REMOVAL_SCHEMA)
        columns = ["image_id", "iteration", "score", "threshold", "rule", "decision", "reviewer", "label"]
        table = removed[columns].astype(object).where(removed[columns].notna(), None)
        create_table_artifact(table.to_dict("records"), key=f"{key}-removed", description="Removed images")
        link = report_link(run)
        create_link_artifact(link, link_text="report.html", key=f"{key}-report", description="The run's report")


@task(task_run_name="removed-images", cache_policy=NO_CACHE, **IO_RETRIES)
def publish_removed_images(run_path: str) -> None:
    """Show the removed images themselves on the flow run's page in Prefect, for an approval."""
    run = RunDirectory(Path(run_path))
    removed = read_table(run.path / "removed.parquet", REMOVAL_SCHEMA)
    shown = standing_removals(removed).sort_values("margin", ascending=False)
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
    tracked = run.path / "mlflow.json"
    if uri.startswith("http") and tracked.exists():
        known = read_json(tracked)
        return f"{uri.rstrip('/')}/#/experiments/{known['experiment']}/runs/{known['run']}/artifacts/report.html"
    return (run.path / "report.html").resolve().as_uri()


def _artifact_key(run: RunDirectory) -> str:
    # Prefect takes a-z, 0-9 and dashes; a data set's folder may be named otherwise.
    return re.sub(r"[^a-z0-9]+", "-", run.run_id.lower()).strip("-")
