"""Watch a detector in service: its scores of new images, and the images themselves, against a commissioning window."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from irp_core.config import Images, Params
from irp_core.errors import InputError
from irp_core.features.images import decode, resized
from irp_core.monitoring.drift import WINDOW, drift
from irp_core.monitoring.health import MEASURES, health, health_drift
from irp_core.regular_file import read_regular
from tasks.scoring import score_images

__all__ = ["watch"]


def watch(
    model: str,
    reference: Path,
    new: Path,
    params: Params,
    *,
    window: int = WINDOW,
    allow: Collection[str] = (),
) -> pd.DataFrame:
    """A row per window of new images: those of `drift`, the path of its `first` image, and what `changed` in them.

    Images that cannot be read do not count.

    Args:
        model: as `score_images`.
        reference: folder of the commissioning window: images that came after the detector was put into service.
        new: folder of new images, taken in the order of their paths.

    Raises:
        InputError: as `score_images` and `drift`.
    """
    before, now = (_scored(model, folder, params, allow) for folder in (reference, new))
    table = drift(before, now, window=window)
    firsts, changes = [], []
    for number in range(len(table)):
        rows = now.iloc[number * window : (number + 1) * window]
        firsts.append(str(rows["path"].iloc[0]))
        changes.append("; ".join(health_drift(before, rows)["says"]))
    return table.assign(first=firsts, changed=changes)


def _scored(model: str, folder: Path, params: Params, allow: Collection[str]) -> pd.DataFrame:
    table = score_images(model, folder, params, allow=allow)
    table = table[table["score"].notna()].sort_values("path", ignore_index=True)
    with ThreadPoolExecutor(params.features.workers) as pool:
        figures = list(pool.map(lambda path: _health(Path(path), params.images), table["path"]))
    return pd.concat([table, pd.DataFrame(figures, columns=list(MEASURES))], axis=1)


def _health(path: Path, images: Images) -> dict[str, float]:
    try:
        decoded = decode(read_regular(path, images.max_bytes), images)
    except InputError:  # scored a moment ago: it has gone since
        return {}
    return health(resized(decoded, images.shape, images.crop))
