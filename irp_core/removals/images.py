"""The final state of every training image: kept or removed, by whom, since which round."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from irp_core.removals.history import GONE, REMOVED, RESTORED, with_truth

__all__ = ["IMAGE_SCHEMA", "KEPT", "REFINEMENT", "image_states"]

KEPT = "kept"
REFINEMENT = "refinement"
_EVALUATION = {"use": "evaluation only"}
IMAGE_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("md5", pa.string()),
        ("state", pa.string()),  # kept, removed, or restored: removed once, and taken back
        ("decided_by", pa.string()),  # refinement, or the reviewer's name
        ("since_round", pa.int32()),  # the decision round that the state is from; 0: from the start
        ("trained_on", pa.bool_()),  # whether the last model was: a review comes after it
        ("score", pa.float64()),  # the last one that the image got, and the threshold that it was held against
        ("threshold", pa.float64()),
        ("rule", pa.string()),
        ("reviewed_at", pa.string()),  # ISO 8601, UTC
        ("note", pa.string()),
        pa.field("label", pa.string(), metadata=_EVALUATION),
        pa.field("injected", pa.bool_(), metadata=_EVALUATION),
    ]
)


def image_states(
    rows: pd.DataFrame,
    removals: pd.DataFrame,
    scores: pd.DataFrame,
    training_set: pd.DataFrame,
    thresholds: Mapping[int, float],
    rule: str,
    manifest: pd.DataFrame,
) -> pd.DataFrame:
    """What became of each training image: the last decision about it, a reviewer's before the refinement's.

    Args:
        rows: `image_id` and `md5` of the manifest's training images.
        removals: `removal_history` of the run.
        scores: `image_id, iteration, score` that the models gave the images, those outside their training sets, too.
        training_set: `image_id` of the last model's training set.
        thresholds: model k → the threshold that its scores were held against, by round k + 1.
        rule: label of the rule.
        manifest: for `label` and `injected`.

    Returns:
        A table with `IMAGE_SCHEMA`, one row per row of `rows`, in their order.
    """
    names = rows["image_id"]
    last = _last_of_each(removals).reindex(names)
    turn = _last_of_each(removals[removals["decision"].isin((*GONE, RESTORED))]).reindex(names)
    inside = pd.Index(training_set["image_id"]).get_indexer(pd.Index(names)) >= 0  # `isin` takes six times as long
    gone = last["decision"].isin(GONE).to_numpy()
    turned = turn["decision"].notna().to_numpy()
    since = turn["iteration"].astype(float).fillna(0).to_numpy()
    latest = _last_of_each(scores.sort_values("iteration", kind="stable")).reindex(names)
    found = pd.DataFrame(
        {
            "image_id": names.to_numpy(),
            "md5": rows["md5"].to_numpy(),
            "state": np.where(gone, REMOVED, np.where(turned, RESTORED, KEPT)),
            "decided_by": last["reviewer"].astype(object).where(last["reviewer"].notna(), REFINEMENT).to_numpy(),
            # What the last training set contradicts was decided by a review of the finished run.
            "since_round": np.where(gone == inside, max(thresholds, default=-1) + 1, since).astype(int),
            "trained_on": inside,
            "score": latest["score"].to_numpy(),
            "threshold": latest["iteration"].map(thresholds).to_numpy(dtype=float),
            "rule": last["rule"].astype(object).where(last["rule"].notna(), rule).to_numpy(),
            "reviewed_at": last["reviewed_at"].to_numpy(),
            "note": last["note"].to_numpy(),
        }
    )
    return with_truth(found, manifest, IMAGE_SCHEMA)


def _last_of_each(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop_duplicates("image_id", keep="last").set_index("image_id")
