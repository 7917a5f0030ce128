"""The health of a prepared set: a second look at its images, for `irp prepare` alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.config import Params
from irp_core.data.manifest import training_rows
from irp_core.errors import InputError
from irp_core.features.images import decode, resized
from irp_core.monitoring.health import health
from irp_core.monitoring.set_health import HEALTH_COLUMNS, noted_oddities
from irp_core.packed.images import read_image
from irp_core.run.prepared import PreparedSet
from tasks.runtime.progress import bar
from tasks.runtime.retries import IO_RETRIES

__all__ = ["MEASURED_AT_MOST", "measure_health"]

MEASURED_AT_MOST = 2000
"""Training images; of a larger set those with the lowest md5, a draw that depends on their content alone."""


@task(task_run_name="health", cache_policy=NO_CACHE, **IO_RETRIES)
def measure_health(root: str, params: dict[str, Any], prepared: str) -> int:
    """Write `health.parquet` of the prepared set's training images; how many of them are unlike the others.

    An image that changed or went since the manifest was made is left out.
    """
    checked, rows = Params.model_validate(params), training_rows(PreparedSet(Path(prepared)).manifest())
    rows = rows.drop_duplicates("md5").sort_values("md5").head(MEASURED_AT_MOST)
    rows = rows.sort_values("image_id", ignore_index=True)
    images = checked.images

    def measured(image_id: str) -> dict[str, float] | None:
        try:
            image = decode(read_image(Path(root) / image_id, images.max_bytes), images)
        except InputError:
            return None
        return {"width": image.width, "height": image.height} | health(resized(image, images.shape, images.crop))

    found: list[dict[str, Any]] = []
    with bar("Measuring images") as advance, ThreadPoolExecutor(checked.features.workers) as pool:
        for row, figures in zip(rows.to_dict("records"), pool.map(measured, rows["image_id"]), strict=True):
            if figures is not None:
                found.append({"image_id": row["image_id"], "md5": row["md5"], **figures})
            advance(len(found), len(rows))
    if not found:
        return 0
    table = noted_oddities(pd.DataFrame(found, columns=list(HEALTH_COLUMNS[:-1])))
    PreparedSet(Path(prepared)).write_health(table)
    return int((table["odd"] != "").sum())
