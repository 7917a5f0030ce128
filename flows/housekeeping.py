"""Housekeeping as a flow, so that a platform can schedule it; `irp gc` does the same at once."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
from prefect import flow
from prefect.logging import get_run_logger

from irp_core.config import Params
from irp_core.params_file import load_params
from irp_core.retention import plan
from tasks.retention import delete, inventory

__all__ = ["housekeeping", "keep_house", "project_params"]


@flow(name="gc", persist_result=False)
def housekeeping(deleting: bool = False) -> dict[str, Any]:
    """Delete what `retention` lets go of, in the project that is the current folder.

    Args:
        deleting: without it the flow only says what it would delete.

    Returns:
        `deleted` (or what would be), `bytes` and `problems`.
    """
    made, problems = keep_house(project_params(), deleting)
    going = made[made["delete"]]
    for problem in problems:
        get_run_logger().warning("%s", problem)
    get_run_logger().info("%s %d of %d", "Deleted" if deleting else "Would delete", len(going), len(made))
    return {"deleted": len(going), "bytes": int(going["bytes"].sum()), "problems": problems}


def keep_house(params: Params, deleting: bool) -> tuple[pd.DataFrame, list[str]]:
    """The plan, carried out where `deleting`; and what could not be deleted."""
    made = plan(inventory(params), params.retention, time.time())
    return made, delete(made, params) if deleting else []


def project_params() -> Params:
    """The parameters of the project in the current folder."""
    from pathlib import Path

    file = Path("params.yaml")
    return load_params(file if file.is_file() else None)
