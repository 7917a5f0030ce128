"""The run's final tables and summary: what every view of a run (terminal, artifact, page, MLflow) is made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from irp_core.atomic import atomic_directory, read_json, write_json
from irp_core.backbones import load_backbone
from irp_core.evaluation import detection, removal
from irp_core.inspection import save_inspector
from irp_core.manifest import read_table, testing_rows, training_rows, write_table
from tasks.refining import REMOVED_SCHEMA, SCORES_SCHEMA
from tasks.retries import IO_RETRIES
from tasks.rundir import RunDirectory
from tasks.weights import resolve_weights

__all__ = ["ITERATIONS_SCHEMA", "REMOVAL_TABLE_SCHEMA", "publish_artifacts", "write_results"]

# The run's removal table: the decisions, and beside them what is known of the truth (evaluation only).
REMOVAL_TABLE_SCHEMA = pa.schema([*REMOVED_SCHEMA, ("label", pa.string()), ("injected", pa.bool_())])
ITERATIONS_SCHEMA = pa.schema(
    [
        ("iteration", pa.int32()),
        ("n_train", pa.int64()),
        ("n_removed", pa.int64()),
        ("threshold", pa.float64()),
        ("max_score", pa.float64()),
        ("n_above", pa.int64()),
        ("auroc", pa.float64()),
        ("average_precision", pa.float64()),
        ("removal_precision", pa.float64()),
        ("removal_recall", pa.float64()),
    ]
)


@task(task_run_name="write-results", cache_policy=NO_CACHE)
def write_results(run_path: str, last_iteration: int, policy_stop: dict[str, Any]) -> dict[str, Any]:
    """Collect the iterations into `scores`, `removed`, `test_scores` and `iterations` tables, `model/`, `summary.json`.

    Args:
        last_iteration: number of the last trained model.
        policy_stop: the decision that ended the loop.
    """
    run = RunDirectory(Path(run_path))
    with run.timed("report"):
        manifest = run.manifest()
        iterations = range(last_iteration + 1)
        removed = pd.concat(
            [_table(run, "decide", k, "removed", REMOVED_SCHEMA) for k in iterations if k > 0]
            or [pd.DataFrame(columns=REMOVED_SCHEMA.names)],
            ignore_index=True,
        )
        truth = manifest.set_index("image_id")[["label", "injected"]]
        removed = removed.join(truth, on="image_id")
        write_table(removed, run.path / "removed.parquet", REMOVAL_TABLE_SCHEMA)
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
            "n_removed": len(removed),
            "n_injected": int(manifest["injected"].sum()),
            "last_look": {name: policy_stop[name] for name in ("threshold", "max_score", "n_above")},
        }
        if run.params().run.outputs == "full":
            _save_model(run, last_iteration, float(policy_stop["threshold"]))
        # Last: a run is complete when its summary exists.
        write_json(run.path / "summary.json", summary)
    return summary


def _save_model(run: RunDirectory, iteration: int, threshold: float) -> None:
    params = run.params()
    backbone = load_backbone(params.features.backbone, resolve_weights(params.features), params.features.layers)
    with atomic_directory(run.path / "model") as folder:
        save_inspector(folder, run.step("train", iteration), backbone, params, threshold)


def _table(run: RunDirectory, step: str, iteration: int, name: str, schema: pa.Schema) -> pd.DataFrame:
    return read_table(run.step(step, iteration) / f"{name}.parquet", schema)


def _row(run: RunDirectory, iteration: int, manifest: pd.DataFrame, removed: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {
        "iteration": iteration,
        "n_train": len(_table(run, "score", iteration, "scores", SCORES_SCHEMA)),
    }
    row["n_removed"] = 0
    if iteration > 0:
        decision = read_json(run.step("decide", iteration) / "decision.json")
        row |= {name: decision[name] for name in ("n_removed", "threshold", "max_score", "n_above")}
    tested = testing_rows(manifest)
    if run.key("evaluate", iteration):
        scores = _table(run, "evaluate", iteration, "scores", SCORES_SCHEMA)
        found = detection(scores["score"], tested["label"] == "defective")
        row |= {"auroc": found.auroc, "average_precision": found.average_precision}
    so_far = removed[removed["iteration"] <= iteration]
    if manifest["label"].notna().any():
        quality = removal(so_far["injected"].tolist(), int(manifest["injected"].sum()))
        row |= {"removal_precision": quality.precision, "removal_recall": quality.recall}
    return row


@task(task_run_name="artifacts", cache_policy=NO_CACHE, **IO_RETRIES)
def publish_artifacts(run_path: str) -> None:
    """Show the iterations and the removal table on the flow run's page in Prefect."""
    run = RunDirectory(Path(run_path))
    with run.timed("prefect"):
        key = run.run_id.lower().replace("_", "-").replace(".", "-")
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
        removed = read_table(run.path / "removed.parquet", REMOVAL_TABLE_SCHEMA)
        columns = ["image_id", "iteration", "score", "threshold", "rule", "label"]
        table = removed[columns].astype(object).where(removed[columns].notna(), None)
        create_table_artifact(table.to_dict("records"), key=f"{key}-removed", description="Removed images")
