"""What a review shows at a time: a page of the images that a filter and a name let through, whatever their number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from irp_core.refinement.reviews import KEPT_BY_REVIEW, REMOVED_BY_REVIEW

__all__ = ["PAGE", "page_of"]

REVIEWED = (KEPT_BY_REVIEW, REMOVED_BY_REVIEW)
PAGE = 200  # images, each a small picture that the browser asks for when it comes into view


def page_of(
    table: pd.DataFrame,
    decisions: Mapping[str, Mapping[str, Any]],
    show: str = "all",
    find: str = "",
    at: str | None = None,
) -> dict[str, Any]:
    """The page that has the image `at` (md5): the first one where it is None or not among those that are shown.

    Args:
        table: the images, `md5, image_id, kind` and what else is shown of them.
        decisions: md5 → the decision that counts.
        show: `all`, `open` (nobody decided), a decision, or a kind.
        find: a part of a name.

    Returns:
        `items`: at most `PAGE` rows of the table, each with its `review`. `start`: the number of the first of them
        among the `shown` that fit; `total`: of the table. `before`, `after`: md5 of the neighbours outside the page,
        `open_after`: of the first one behind it that nobody decided about, `first_open`: of the first at all; None
        where there is none. `decided`: how many somebody decided about, `removed_open`: removed by the rule, and not
        among these.
    """
    said = table["md5"].map({md5: row["decision"] for md5, row in decisions.items()}).astype(object)
    undecided = said.isna()
    of_kind = {"all": pd.Series(True, index=table.index), "open": undecided}
    # `removed_by_review` is a kind, too: of what an earlier decision kept out. Here the decision is meant.
    # `fits` may be `undecided` itself, which is counted below: nothing is changed in place.
    fits = of_kind.get(show, said == show if show in REVIEWED else table["kind"] == show)
    if name := find.strip().lower():
        fits = fits & table["image_id"].str.lower().str.contains(name, regex=False)
    fits = fits | (table["md5"] == at)  # what was just decided stays in view
    shown, is_open = table["md5"].to_numpy()[fits], undecided.to_numpy()[fits]
    place = np.flatnonzero(shown == at)
    start = int(place[0]) // PAGE * PAGE if len(place) else 0
    end = start + PAGE
    rows = table.iloc[np.flatnonzero(fits)[start:end]].astype(object)
    items = rows.where(rows.notna(), None).to_dict("records")
    return {
        "items": [{"likely": None, **row, "review": decisions.get(row["md5"])} for row in items],
        "start": start,
        "shown": len(shown),
        "total": len(table),
        "before": shown[start - 1] if start else None,
        "after": shown[end] if end < len(shown) else None,
        "open_after": next(iter(shown[end:][is_open[end:]]), None),
        "first_open": next(iter(shown[is_open]), None),
        "decided": int((~undecided).sum()),
        "removed_open": int(((table["kind"] == "removed") & undecided).sum()),
    }
