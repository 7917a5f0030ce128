"""What a review shows at a time: a page of the images that a filter and a name let through, whatever their number."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from tasks.review.session import Review

__all__ = ["PAGE", "Filter", "page_of"]

PAGE = 200  # images, each a small picture that the browser asks for when it comes into view
Filter = Literal["all", "open", "removed", "borderline", "kept_by_review", "removed_by_review"]


def page_of(review: Review, show: Filter = "all", find: str = "", at: str | None = None) -> dict[str, Any]:
    """The page that has the image `at` (md5): the first one where it is None or not among those that are shown.

    Returns:
        `items`: at most `PAGE` rows of `Review.items`, each with its `review`. `start`: the number of the first of them
        among the `shown` that fit; `total`: of the review. `before`, `after`: md5 of the neighbours outside the page,
        `open_after`: of the first one behind it that nobody decided about; None where there is none. `decided`: how
        many somebody decided about, `removed_open`: removed by the rule, and not among these.
    """
    items, decisions = review.items, review.decisions()
    said = items["md5"].map({md5: row["decision"] for md5, row in decisions.items()})
    of_kind = {
        "all": pd.Series(True, index=items.index),
        "open": said.isna(),
        "removed": items["kind"] == "removed",
        "borderline": items["kind"] == "borderline",
    }
    fits = of_kind.get(show, said == show)
    if name := find.strip().lower():
        fits &= items["image_id"].str.lower().str.contains(name, regex=False)
    fits |= items["md5"] == at  # what was just decided stays in view
    shown, is_open = items["md5"].to_numpy()[fits], said.isna().to_numpy()[fits]
    place = np.flatnonzero(shown == at)
    start = int(place[0]) // PAGE * PAGE if len(place) else 0
    end = start + PAGE
    rows = items.iloc[np.flatnonzero(fits)[start:end]].astype(object)
    return {
        "items": [
            {**row, "review": decisions.get(row["md5"])} for row in rows.where(rows.notna(), None).to_dict("records")
        ],
        "start": start,
        "shown": len(shown),
        "total": len(items),
        "before": shown[start - 1] if start else None,
        "after": shown[end] if end < len(shown) else None,
        "open_after": next(iter(shown[end:][is_open[end:]]), None),
        "decided": int(said.notna().sum()),
        "removed_open": int(((items["kind"] == "removed") & said.isna()).sum()),
    }
