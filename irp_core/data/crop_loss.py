"""What a crop does to the defects: how much of each mask is left inside it.

A defect that the crop cuts away leaves a good image that is labelled defective: it can neither be found by
its pixels nor be counted as a miss.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from irp_core.config import Images
from irp_core.errors import InputError
from irp_core.features.images import center_box, decode_mask
from irp_core.packed.images import read_image

__all__ = ["count_lost", "crop_loss"]


def crop_loss(root: Path, manifest: pd.DataFrame, crop: str, *, workers: int = 2) -> pd.DataFrame:
    """Measure every mask of `manifest` before and after `crop` (`images.crop`: none | center).

    Returns a row per image with a mask: image_id, defect_pixels (of the whole mask) and kept_pixels (inside
    the crop), in pixels of the mask, which is as large as its image. Both are null where the mask cannot be
    read. `crop` none keeps everything, and no mask is opened: there is no row.
    """
    measured = manifest["mask_path"].notna() & (crop == "center")
    masked = manifest.loc[measured, ["image_id", "mask_path"]]
    with ThreadPoolExecutor(workers) as pool:
        counts = list(pool.map(lambda mask: _count(root / mask), masked["mask_path"]))
    table = pd.DataFrame(counts, columns=["defect_pixels", "kept_pixels"], dtype="Int64")
    table.insert(0, "image_id", masked["image_id"].to_numpy())
    return table


def count_lost(table: pd.DataFrame) -> tuple[int, int]:
    """(lost, cut): defects of which nothing is left inside the crop, and of which a part is.

    A mask without a single pixel (four of the magnetic tiles) is neither.

    Example:
        >>> table = pd.DataFrame({"defect_pixels": [40, 40, 40], "kept_pixels": [40, 15, 0]})
        >>> count_lost(table)
        (1, 1)
    """
    kept, whole = table["kept_pixels"], table["defect_pixels"]
    lost = (whole > 0) & (kept == 0)
    return int(lost.sum()), int(((kept > 0) & (kept < whole)).sum())


def _count(path: Path) -> tuple[int | None, int | None]:
    try:
        mask = decode_mask(read_image(path, Images().max_bytes))
    except InputError:
        return None, None
    left, top, right, bottom = center_box(mask.shape[1], mask.shape[0])
    return int(mask.sum()), int(mask[top:bottom, left:right].sum())
