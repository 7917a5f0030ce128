"""The near-copies of a set, as its table has them, and which of its contents are golden ones or copies of such."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.data.copies.near_copies import near_copies
from irp_core.data.copies.thumbnails import Thumbnails
from irp_core.data.schemas import NEAR_COPIES_SCHEMA

__all__ = ["copies_of_set"]


def copies_of_set(
    listed: pd.DataFrame,
    seen: Thumbnails,
    correlation: float | None,
    golden: Mapping[str, NDArray[np.uint8]],
) -> tuple[pd.DataFrame, frozenset[str]]:
    """(rows of `near_copies`, the contents that are golden or near-copies of golden ones).

    Each content is compared once, and named by every file that has it.

    Args:
        listed: `image_id` and `md5` of the images.
        seen: a picture of each of their contents; those of golden images are added to it.
        correlation: from which two are near-copies; None: none are looked for.
        golden: content → picture of golden images.
    """
    ours = listed["md5"].unique().tolist()
    if correlation is None:
        return pd.DataFrame(columns=NEAR_COPIES_SCHEMA.names, dtype=object), frozenset(ours) & golden.keys()
    for md5, picture in golden.items():
        seen.add(md5, picture)
    ordered = sorted({*ours, *golden})  # whatever the files are called
    labels = near_copies(seen.of(ordered), correlation)
    group_of = pd.Series([ordered[label] for label in labels], index=ordered, name="group", dtype=object)
    kept_out = group_of[group_of.isin(set(group_of[list(golden)]))]
    of_set = group_of[ours]
    several = of_set[of_set.duplicated(keep=False)]
    table = listed.loc[listed["md5"].isin(several.index), ["image_id", "md5"]].astype(object)
    table.insert(0, "group", table["md5"].map(several).astype(object))
    return table.sort_values(["group", "image_id"], ignore_index=True), frozenset(kept_out.index) & set(ours)
