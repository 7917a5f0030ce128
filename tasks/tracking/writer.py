"""MLflow: one parent run per refinement run, one nested run per iteration (= per model).

Runs are found again by their tags, so a resumed run goes on in the same MLflow runs; every table is logged
whole under a fixed name, because an append would duplicate rows on a retry.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.config import Params, digest
from irp_core.data.manifest import write_table
from irp_core.errors import InputError
from irp_core.removals import REMOVAL_SCHEMA
from irp_core.results.located import maps_metrics
from irp_core.run.directory import RunDirectory, is_run
from irp_core.run.files import DECIDED, LAST_ROUND, MODEL, REMOVALS, TABLES
from irp_core.run.removal_tables import decided_removals
from irp_core.run.step_files import read_history, read_tracked, read_weights_sha256, write_tracked
from tasks.runtime.retries import IO_RETRIES
from tasks.serving import CODE, save_pyfunc
from tasks.tracking.artifacts import log_files
from tasks.tracking.experiment import experiment_of
from tasks.tracking.metrics import curves_of, new_points, points_of
from tasks.tracking.queries import client_of, runs_tagged
from tasks.tracking.results import log_results, register
from tasks.tracking.reviews import log_review, note_review, review_is_logged
from tasks.versions.lineage import WEIGHTS_TAG, common_tags, result_params, training_tags

__all__ = [
    "fail_parent",
    "finish_parent",
    "log_review",
    "register_model",
    "review_is_logged",
    "start_parent",
    "track_iteration",
]


def _bring_along(client: MlflowClient, run: RunDirectory) -> None:
    """Let the MLflow runs of a run whose folder was moved say where it is now: else they would not be found again."""
    here = str(run.path.resolve())
    try:
        known = run.mlflow()
        if known is None:
            return
        parent = client.get_run(str(known["run"]))
    except (InputError, MlflowException):  # a damaged note, or another store than the run was tracked in
        return
    before = parent.data.tags.get("irp.directory", here)
    if before == here or parent.data.tags.get("irp.run_id") != run.run_id or is_run(Path(before)):  # there: a copy
        return
    experiment = [parent.info.experiment_id]
    for moved in (parent, *runs_tagged(client, experiment, {"mlflow.parentRunId": parent.info.run_id})):
        client.set_tag(moved.info.run_id, "irp.directory", here)


def _find_or_create(client: MlflowClient, experiment: str, name: str, tags: dict[str, str]) -> str:
    own = {key: tags[key] for key in ("irp.run_id", "irp.iteration", "irp.directory")}
    if run := next(runs_tagged(client, [experiment], own), None):
        found = str(run.info.run_id)
        client.update_run(found, status="RUNNING")
        for key, value in tags.items():  # of what is computed now, which other hardware or code may change
            client.set_tag(found, key, value)
        return found
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


@task(task_run_name="track-start", cache_policy=NO_CACHE, **IO_RETRIES)
def start_parent(run_path: str) -> str:
    """Open (or find again) the parent run; returns its id."""
    run = RunDirectory(Path(run_path))
    with run.timed("track"):
        params = run.params()
        client = client_of(params)
        tags = {
            **common_tags(run),
            "irp.iteration": "all",
            "irp.manifest_sha256": run.record()["manifest_sha256"],
        }
        experiment = experiment_of(client, params)
        _bring_along(client, run)
        parent = _find_or_create(client, experiment, run.run_id, tags)
        run.write_mlflow({"experiment": experiment, "run": parent})
        client.log_batch(parent, params=_params(params))
        log_files(client, parent, run.first_files())
    return parent


@task(task_run_name="track-{iteration}", cache_policy=NO_CACHE, **IO_RETRIES)
def track_iteration(run_path: str, parent: str, iteration: int, fingerprint: str) -> str:
    """Log iteration `iteration`'s model, curves, scores, removals and exact training set as a nested run.

    The parent's removal table is written whole each time, so that even a run that dies has all decisions so far.
    """
    run = RunDirectory(Path(run_path))
    # A snapshot may come later than the run: `snapshots` is no part of its identity.
    made_from = [run.key(step, iteration) for step in ("score", "decide", "snapshot")]
    scorers = run.key("scorers", iteration)
    key = digest("track", parent, *made_from, *([scorers] if scorers else []))

    def make(folder: Path) -> None:
        params = run.params()
        client = client_of(params)
        version = run.snapshot(iteration)
        tags = {**common_tags(run), **training_tags(run, iteration, fingerprint), "mlflow.parentRunId": parent}
        nested = _find_or_create(client, experiment_of(client, params), f"iteration-{iteration:02d}", tags)
        rows = run.training_set(iteration)
        metrics = {"n_train": float(len(rows))}
        if iteration > 0:
            decision = run.decision(iteration)
            metrics |= {name: float(decision[name]) for name in ("threshold", "max_score", "n_removed")}
        points = [*points_of(metrics, step=0), *curves_of(run.training_history(iteration))]
        client.log_batch(nested, metrics=new_points(client, nested, points), params=_params(params))
        so_far = decided_removals(run, iteration)
        this_round, history = folder / DECIDED, folder / REMOVALS
        write_table(so_far[so_far["iteration"] == iteration], this_round, REMOVAL_SCHEMA)
        files = {TABLES: [*run.score_files(iteration), this_round]}
        if version:
            files["dvc"] = [Path(version["dvc_file"])]
        log_files(client, nested, files)
        write_table(so_far, history, REMOVAL_SCHEMA)
        log_files(client, parent, {TABLES: [history]})
        _log_input(client, nested, run, rows, version)
        client.set_terminated(nested, "FINISHED")
        write_tracked(folder, nested)

    with run.timed("track"):
        return read_tracked(run.do("track", iteration, key, make))


@task(task_run_name="track-finish", cache_policy=NO_CACHE, **IO_RETRIES)
def finish_parent(run_path: str, parent: str, nested: dict[int, str]) -> None:
    """Log the run's final tables, metrics, weights and report; close the parent run."""
    run = RunDirectory(Path(run_path))
    with run.timed("track"):
        params = run.params()
        client = client_of(params)
        iterations = run.iterations()
        rows = iterations.to_dict("records")
        for row in rows:
            target = nested[int(row["iteration"])]
            client.log_batch(target, metrics=new_points(client, target, points_of(row, step=0)))
        # The parent's curves: one point per iteration.
        points = [point for row in rows for point in points_of(row, step=int(row["iteration"]))]
        maps = {f"map_{name}": value for name, value in maps_metrics(run.summary()).items()}
        points += points_of(maps, step=len(iterations) - 1)
        client.log_batch(parent, metrics=new_points(client, parent, points))
        with tempfile.TemporaryDirectory() as temporary:
            last_round = Path(temporary) / DECIDED
            write_table(run.decided(len(iterations)), last_round, REMOVAL_SCHEMA)
            log_files(client, nested[len(iterations) - 1], {LAST_ROUND: [last_round]})
        events = len(run.reviews())
        if params.run.outputs == "full":
            _log_weights(client, run, params, parent, nested)
        _log_final_training(client, run, parent, len(iterations) - 1)
        client.set_tag(parent, "irp.stop_reason", run.summary()["stop_reason"])
        log_results(client, run, parent, [nested[k] for k in sorted(nested)])
        client.set_terminated(parent, "FINISHED")
        if not params.review.required:  # else not before the approved model is registered
            note_review(run, events)


@task(task_run_name="register", cache_policy=NO_CACHE, **IO_RETRIES)
def register_model(run_path: str, parent: str) -> None:
    """Register the finished run's detector where `tracking.registered_model` names one and the run kept it."""
    run = RunDirectory(Path(run_path))
    with run.timed("track"):
        register(client_of(run.params()), run.params(), parent)


def _log_final_training(client: MlflowClient, run: RunDirectory, parent: str, last: int) -> None:
    """Of a final detector that is no iteration's model: the digest of its weights, and the course of its training."""
    trained = run.step("train", last)
    if trained == run.model_step(last):
        return
    client.log_batch(parent, metrics=new_points(client, parent, curves_of(read_history(trained))))
    client.set_tag(parent, WEIGHTS_TAG, read_weights_sha256(trained))


def _log_weights(client: MlflowClient, run: RunDirectory, params: Params, parent: str, nested: dict[int, str]) -> None:
    """The models whose weights are kept, and the final detector as a pyfunc."""
    for iteration in _kept_weights(params, len(nested)):
        log_files(client, nested[iteration], {MODEL: run.detector_files(iteration)})
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / MODEL
        save_pyfunc(run.model, model)
        # A tag is too short for the hashes of all the code: they are in one file, whose hash it holds.
        client.log_artifacts(parent, str(model / CODE), f"{MODEL}/{CODE}")
        shutil.rmtree(model / CODE)
        folders: dict[str, list[Path]] = {}
        for file in sorted(path for path in model.rglob("*") if path.is_file()):
            folders.setdefault(file.parent.relative_to(temporary).as_posix(), []).append(file)
        log_files(client, parent, folders)


def fail_parent(run: RunDirectory, parent: str) -> None:
    """Mark the parent run FAILED; a later resume takes it up again.

    Where that fails too (the disk is full, the server gone), what went wrong first is what has to be said.
    """
    try:
        client_of(run.params()).set_terminated(parent, "FAILED")
    except Exception as error:
        logging.getLogger(__name__).info("%s could not be marked FAILED (%s)", parent, error)


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
    """What a result depends on. MLflow's parameters can never be changed: the others are in `run.json`."""
    return [
        Param(f"{section}.{key}", json.dumps(value) if not isinstance(value, str) else value)
        for section, values in result_params(params).items()
        for key, value in values.items()
    ]


def _kept_weights(params: Params, iterations: int) -> list[int]:
    everything = list(range(iterations))
    return {"all": everything, "first_and_last": sorted({0, iterations - 1}), "last": everything[-1:]}[
        params.tracking.keep_weights
    ]
