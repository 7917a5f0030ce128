"""MLflow: one parent run per refinement run, one nested run per iteration (= per model).

Runs are found again by their tags, so a resumed run goes on in the same MLflow runs; every table is logged
whole under a fixed name, because an append would duplicate rows on a retry.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core import __version__
from irp_core.atomic import read_json
from irp_core.config import Params, digest
from irp_core.errors import InputError
from irp_core.manifest import read_table
from tasks.refining import HISTORY_SCHEMA, training_set
from tasks.reporting import ITERATIONS_SCHEMA
from tasks.retries import IO_RETRIES
from tasks.rundir import RunDirectory
from tasks.serving import save_pyfunc
from tasks.snapshots import describe

__all__ = ["client_of", "fail_parent", "finish_parent", "start_parent", "track_iteration"]


def client_of(params: Params) -> MlflowClient:
    """A client of the configured tracking store.

    Raises:
        InputError: the store cannot be opened.
    """
    try:
        client = MlflowClient(tracking_uri=params.tracking.uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # sqlalchemy, requests and MLflow each raise their own
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"tracking.uri {params.tracking.uri!r} cannot be opened ({first_line}).") from None
    return client


def _experiment(client: MlflowClient, params: Params) -> str:
    found: Experiment | None = client.get_experiment_by_name(params.tracking.experiment)
    if found is not None:
        return str(found.experiment_id)
    # A server decides where its artifacts go; beside a local database they go where .gitignore expects them.
    local = params.tracking.uri.startswith("sqlite:")
    location = (Path("mlartifacts") / params.tracking.experiment).resolve().as_uri() if local else None
    try:
        return str(client.create_experiment(params.tracking.experiment, artifact_location=location))
    except MlflowException:  # another process was quicker
        return str(client.get_experiment_by_name(params.tracking.experiment).experiment_id)


def _find_or_create(client: MlflowClient, experiment: str, name: str, tags: dict[str, str]) -> str:
    clauses = [
        f"tags.`{key}` = '{tags[key]}'" for key in ("irp.run_id", "irp.iteration", "irp.directory") if key in tags
    ]
    found = client.search_runs([experiment], filter_string=" and ".join(clauses), max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
        client.update_run(run_id, status="RUNNING")
        return run_id
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


@task(task_run_name="track-start", cache_policy=NO_CACHE, **IO_RETRIES)
def start_parent(run_path: str) -> str:
    """Open (or find again) the parent run; returns its id."""
    run = RunDirectory(Path(run_path))
    with run.timed("track"):
        params, record = run.params(), run.record()
        client = client_of(params)
        tags = {
            "irp.run_id": run.run_id,
            "irp.directory": str(run.path.resolve()),
            "irp.iteration": "all",
            "irp.method": params.refinement.method,
            "irp.dataset": record["dataset"],
            "irp.version": __version__,
            "irp.manifest_sha256": record["manifest_sha256"],
            "mlflow.source.name": "irp",
            **_git_tag(),
        }
        parent = _find_or_create(client, _experiment(client, params), run.run_id, tags)
        client.log_batch(parent, params=_params(params))
        for table in ("manifest", "quarantine", "duplicates"):
            if (run.path / f"{table}.parquet").exists():
                client.log_artifact(parent, str(run.path / f"{table}.parquet"), "tables")
    return parent


@task(task_run_name="track-{iteration}", cache_policy=NO_CACHE, **IO_RETRIES)
def track_iteration(run_path: str, parent: str, iteration: int, fingerprint: str) -> str:
    """Log iteration `iteration`'s model, curves, scores, removals and exact training set as a nested run."""
    run = RunDirectory(Path(run_path))
    key = digest("track", parent, run.key("score", iteration), run.key("decide", iteration))

    def make(folder: Path) -> None:
        params = run.params()
        client = client_of(params)
        tags = {
            "irp.run_id": run.run_id,
            "irp.directory": str(run.path.resolve()),
            "irp.iteration": str(iteration),
            "irp.method": params.refinement.method,
            "irp.feature_fingerprint": fingerprint,
            "irp.version": __version__,
            "mlflow.parentRunId": parent,
            "mlflow.source.name": "irp",
            **_git_tag(),
        }
        version = describe(run, iteration)
        if version:
            tags["irp.dvc_md5"] = version["md5"]
        nested = _find_or_create(client, _experiment(client, params), f"iteration-{iteration:02d}", tags)
        scores = run.step("score", iteration) / "scores.parquet"
        rows = training_set(run, iteration)
        metrics = {"n_train": float(len(rows))}
        if iteration > 0:
            decision = read_json(run.step("decide", iteration) / "decision.json")
            metrics |= {name: float(decision[name]) for name in ("threshold", "max_score", "n_removed")}
            client.log_artifact(nested, str(run.step("decide", iteration) / "removed.parquet"), "tables")
        client.log_batch(
            nested,
            metrics=[Metric(name, value, _now(), 0) for name, value in metrics.items()] + _curves(run, iteration),
            params=_params(params),
        )
        client.log_artifact(nested, str(scores), "tables")
        _log_input(client, nested, run, rows, version)
        client.set_terminated(nested, "FINISHED")
        (folder / "mlflow_run_id.txt").write_text(nested, encoding="utf-8")

    with run.timed("track"):
        return (run.do("track", iteration, key, make) / "mlflow_run_id.txt").read_text(encoding="utf-8")


@task(task_run_name="track-finish", cache_policy=NO_CACHE, **IO_RETRIES)
def finish_parent(run_path: str, parent: str, nested: dict[int, str], status: str = "FINISHED") -> None:
    """Log the run's final tables, metrics, weights and report; close the parent run."""
    run = RunDirectory(Path(run_path))
    with run.timed("track"):
        params = run.params()
        client = client_of(params)
        iterations = read_table(run.path / "iterations.parquet", ITERATIONS_SCHEMA)
        for row in iterations.to_dict("records"):
            target = nested[int(row["iteration"])]
            client.log_batch(target, metrics=_metrics(row, step=0))
            # The parent's curves: one point per iteration.
            client.log_batch(parent, metrics=_metrics(row, step=int(row["iteration"])))
        if params.run.outputs == "full":
            _log_weights(client, run, params, parent, nested)
        for file in sorted(run.path.glob("*.parquet")):
            client.log_artifact(parent, str(file), "tables")
        for name in ("summary.json", "report.html"):
            if (run.path / name).exists():
                client.log_artifact(parent, str(run.path / name))
        summary = read_json(run.path / "summary.json")
        client.set_tag(parent, "irp.stop_reason", summary["stop_reason"])
        client.set_terminated(parent, status)


def _log_weights(client: MlflowClient, run: RunDirectory, params: Params, parent: str, nested: dict[int, str]) -> None:
    """The models whose weights are kept, and the final one as a pyfunc, registered where a name is given."""
    for iteration in _kept_weights(params, len(nested)):
        folder = run.step("train", iteration)
        for name in ("detector.json", "weights.safetensors"):
            client.log_artifact(nested[iteration], str(folder / name), "model")
    with tempfile.TemporaryDirectory() as temporary:
        save_pyfunc(run.path / "model", Path(temporary) / "model")
        client.log_artifacts(parent, str(Path(temporary) / "model"), "model")
    if params.tracking.registered_model:
        _register(client, params.tracking.registered_model, parent)


def fail_parent(run: RunDirectory, parent: str) -> None:
    """Mark the parent run FAILED; a later resume takes it up again."""
    client_of(run.params()).set_terminated(parent, "FAILED")


def _register(client: MlflowClient, name: str, parent: str) -> None:
    """Register the parent run's model, once."""
    try:
        client.create_registered_model(name)
    except MlflowException:
        if any(version.run_id == parent for version in client.search_model_versions(f"name='{name}'")):
            return
    source = f"{client.get_run(parent).info.artifact_uri}/model"
    client.create_model_version(name, source=source, run_id=parent)


def _metrics(row: dict[str, Any], step: int) -> list[Metric]:
    return [
        Metric(name, float(value), _now(), step)
        for name, value in row.items()
        if name != "iteration" and isinstance(value, (int, float)) and value == value
    ]


def _curves(run: RunDirectory, iteration: int) -> list[Metric]:
    history = read_table(run.step("train", iteration) / "history.parquet", HISTORY_SCHEMA)
    return [
        Metric(name, float(row[column]), _now(), int(row["epoch"]))
        for row in history.to_dict("records")
        for name, column in (("loss", "loss"), ("learning_rate", "learning_rate"), ("epoch_seconds", "seconds"))
    ]


def _log_input(
    client: MlflowClient, nested: str, run: RunDirectory, rows: pd.DataFrame, version: dict[str, Any] | None
) -> None:
    record = run.record()
    source = {"uri": version["dvc_file"], "md5": version["md5"]} if version else {"uri": record["data_root"]}
    dataset = Dataset(
        name=record["dataset"],
        # The DVC hash names exactly these images; without DVC, the digest of the list does.
        digest=(version["md5"].removesuffix(".dir") if version else digest(rows.to_dict("list")))[:36],
        source_type="dvc" if version else "local",
        source=json.dumps(source),
        profile=json.dumps({"num_rows": len(rows)}),
    )
    client.log_inputs(nested, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _params(params: Params) -> list[Param]:
    return [
        Param(f"{section}.{key}", json.dumps(value) if not isinstance(value, str) else value)
        for section, values in params.model_dump(mode="json", exclude={"sweep", "figures"}).items()
        for key, value in values.items()
    ]


def _kept_weights(params: Params, iterations: int) -> list[int]:
    everything = list(range(iterations))
    return {"all": everything, "first_and_last": sorted({0, iterations - 1}), "last": everything[-1:]}[
        params.tracking.keep_weights
    ]


def _git_tag() -> dict[str, str]:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {"mlflow.source.git.commit": found.stdout.strip()} if found.returncode == 0 else {}


def _now() -> int:
    return int(time.time() * 1000)
