"""Read a data set and make its contaminated manifest, without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from irp_core.run.prepared_digests import note_prepared
from tasks.steps.health import measure_health
from tasks.steps.prepare import prepare

__all__ = ["prepare_dataset"]


@flow(name="prepare", flow_run_name="prepare-{root}", persist_result=False)
def prepare_dataset(root: str, params: dict[str, Any], output: str) -> dict[str, int | str]:
    """Write the tables of `root` (manifest, what was left out, crop loss, health) into `output`, with their digests."""
    counts: dict[str, int | str] = prepare(root, params, output)
    unlike = measure_health(root, params, output)
    note_prepared(Path(output))
    return {**counts, "unlike_the_others": unlike}
