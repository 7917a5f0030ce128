"""The folders of runs: what in them is nowhere else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.refinement.reviews import approval
from irp_core.retention import Item
from irp_core.run.directory import RunDirectory, list_runs
from tasks.tracking.artifacts import FILES_TAG
from tasks.tracking.writer import review_is_logged

__all__ = ["delete_run", "measure", "run_items"]


def run_items(params: Params, client: MlflowClient, in_service: Mapping[str, list[str]]) -> list[Item]:
    """The folders below `run.directory`.

    Args:
        in_service: MLflow run → the registered versions with an alias that were made of it.
    """
    runs = list_runs(Path(params.run.directory))
    asked_about = {  # of runs that are not at their end, or not tracked
        sibling.run_id for run in runs if not run.finished() and (sibling := run.shares_with()) is not None
    }
    items = []
    for run in runs:
        size, since = measure(run.path)
        needed = _needed(run, client, in_service)
        if needed is None and run.run_id in asked_about:
            needed = "another run that is not finished goes on from it"
        items.append(Item("run", run.run_id, size, since, group=str(run.data_root()), needed=needed))
    return items


def _needed(run: RunDirectory, client: MlflowClient, in_service: Mapping[str, list[str]]) -> str | None:
    if not run.finished():
        return None  # nothing came of it; while it is young its age keeps it
    known = run.mlflow()
    if known is None:
        return "it is tracked nowhere else"
    if names := in_service.get(str(known["run"])):
        return f"{names[0]} was made of it"
    try:
        tracked = client.get_run(str(known["run"]))
    except MlflowException:
        return "its record in MLflow is not to be had"
    if tracked.info.status != "FINISHED" or not tracked.data.tags.get(FILES_TAG):
        return "its record in MLflow is not complete"
    if not review_is_logged(run):
        return "its review is not in MLflow yet"
    if run.params().review.required and approval(run.reviews()) is None:
        return "it waits for an approval"
    return None


def measure(folder: Path) -> tuple[int, float]:
    """Bytes that its deletion frees, and when something in it was last written."""
    size, since = 0, folder.stat().st_mtime
    for place, _, names in os.walk(
        folder
    ):  # whoever writes there meanwhile makes it miss a file, not end with an error
        for name in names:
            with suppress(OSError):
                facts = Path(place, name).lstat()
                since = max(since, facts.st_mtime)
                size += facts.st_size if facts.st_nlink == 1 else 0
    return size, since


def delete_run(params: Params, run_id: str) -> None:
    """Delete the folder of a run, as a whole: it is moved out of the way first.

    Raises:
        InputError: no such run.
    """
    folder = Path(params.run.directory) / run_id
    if not folder.is_dir() or folder.parent.resolve() != Path(params.run.directory).resolve():
        raise InputError(f"{folder}: expected the folder of a run, found none.")
    going = folder.with_name(f".{run_id}.deleting")
    shutil.rmtree(going, ignore_errors=True)
    folder.rename(going)
    shutil.rmtree(going)
