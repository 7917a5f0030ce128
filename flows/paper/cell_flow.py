"""One seed of one cell as a Prefect flow: every method on the same contaminated set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.compare import run_methods
from flows.paper.places import prepared, raw
from tasks.rundir import RunDirectory

__all__ = ["run_seed"]


@flow(name="sweep", flow_run_name="sweep-{entity}-{level}-seed-{seed}", persist_result=False)
def run_seed(entity: str, level: int, seed: int, params: dict[str, Any]) -> dict[str, str]:
    """Run `sweep.methods`, sharing features and pre-training; returns the run directory of each.

    Models are deleted when all methods are done: until then they are shared, and after that only tables count.
    """
    runs = run_methods(str(raw(entity)), params, tuple(params["sweep"]["methods"]), str(prepared(entity, level, seed)))
    for path in runs.values():
        RunDirectory(Path(path)).drop_weights()
    return runs
