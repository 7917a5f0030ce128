"""Read a data set and make its contaminated manifest, without training anything."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.steps.health import measure_health
from tasks.steps.prepare import prepare

__all__ = ["prepare_dataset"]


@flow(name="prepare", flow_run_name="prepare-{root}", persist_result=False)
def prepare_dataset(root: str, params: dict[str, Any], output: str) -> dict[str, int | str]:
    """Write `manifest.parquet`, `quarantine`, `duplicates`, `crop_loss` and `health` of `root` into `output`."""
    counts: dict[str, int | str] = prepare(root, params, output)
    return {**counts, "unlike_the_others": measure_health(root, params, output)}
