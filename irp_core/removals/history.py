"""The history of removals: one row per decision about an image, one schema from the single round to the whole run.

`label` and `injected` are for evaluation only (the schema says so): they are filled in beside a decision, never
read for one. A row's `iteration` is the number of the decision round (docs/decisions/0003); rows of iteration 0 are
images that a reviewer's standing decision kept out of the very first training set, so they have no score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
import pyarrow as pa

from irp_core.refinement.reviews import KEPT_BY_REVIEW, REMOVED_BY_REVIEW, current_decisions

__all__ = [
    "DECISIONS",
    "GONE",
    "REMOVAL_SCHEMA",
    "REMOVED",
    "RESTORED",
    "empty_removals",
    "excluded_rows",
    "joined_rounds",
    "removal_history",
    "review_removals",
    "round_rows",
    "standing_removals",
    "with_truth",
]

REMOVED = "removed"
RESTORED = "restored"
DECISIONS = (REMOVED, RESTORED, KEPT_BY_REVIEW, REMOVED_BY_REVIEW)
GONE = (REMOVED, REMOVED_BY_REVIEW)
_EVALUATION = {"use": "evaluation only"}
_REVIEW_COLUMNS = ["decision", "reviewer", "reviewed_at", "note"]
REMOVAL_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("md5", pa.string()),
        ("iteration", pa.int32()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("rule", pa.string()),
        ("margin", pa.float64()),  # score - threshold
        ("decision", pa.string()),
        ("reviewer", pa.string()),
        ("reviewed_at", pa.string()),  # ISO 8601, UTC
        ("note", pa.string()),
        pa.field("label", pa.string(), metadata=_EVALUATION),
        pa.field("injected", pa.bool_(), metadata=_EVALUATION),
    ]
)


def empty_removals() -> pd.DataFrame:
    """A removal table without rows."""
    frame: pd.DataFrame = REMOVAL_SCHEMA.empty_table().to_pandas()
    return frame


def with_truth(rows: pd.DataFrame, manifest: pd.DataFrame, schema: pa.Schema = REMOVAL_SCHEMA) -> pd.DataFrame:
    """Bring rows to the schema: columns they lack are null, `label` and `injected` come from the manifest."""
    truth = manifest.set_index("image_id")[["label", "injected"]]
    known = rows.drop(columns=["label", "injected"], errors="ignore").join(truth, on="image_id")
    # Without labels nothing is known: `injected` is then no statement.
    known["injected"] = known["injected"].astype(object).where(known["label"].notna(), None)
    return known.reindex(columns=schema.names)


def excluded_rows(decisions: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Removal rows (iteration 0) of the images that a standing decision keeps out before any training.

    Args:
        decisions: `current_decisions` that stood when the run began.
        rows: `image_id` and `md5` of the manifest's training images.
    """
    removed = decisions[decisions["decision"] == REMOVED_BY_REVIEW].set_index("md5")
    found = rows[rows["md5"].isin(removed.index)][["image_id", "md5"]]
    reviewed = found.join(removed[_REVIEW_COLUMNS], on="md5")
    return reviewed.assign(iteration=0, rule="review").reindex(columns=REMOVAL_SCHEMA.names)


def round_rows(
    *,
    removed: pd.DataFrame,
    restored: pd.DataFrame,
    spared: pd.DataFrame,
    iteration: int,
    threshold: float,
    rule: str,
    decisions: pd.DataFrame,
    manifest: pd.DataFrame,
) -> pd.DataFrame:
    """Removal rows of one decision round.

    Args:
        removed, restored, spared: `image_id, md5, score` of the images that were removed, that came back, and that are
            above the threshold and kept all the same because a reviewer decided so.
        iteration, threshold, rule: of the round.
        decisions: `current_decisions` that stood when the run began.
        manifest: for `label` and `injected`.
    """
    review = decisions[decisions["decision"] == KEPT_BY_REVIEW].set_index("md5")[_REVIEW_COLUMNS[1:]]
    rows = pd.concat(
        [
            removed.assign(decision=REMOVED),
            restored.assign(decision=RESTORED),
            spared.join(review, on="md5").assign(decision=KEPT_BY_REVIEW),
        ]
    ).assign(iteration=iteration, threshold=threshold, rule=rule)
    return with_truth(rows.assign(margin=rows["score"] - rows["threshold"]), manifest)


def joined_rounds(rounds: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One table of the rows of several rounds, in their order."""
    tables = [table for table in rounds if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else empty_removals()


def removal_history(
    rounds: Iterable[pd.DataFrame],
    events: pd.DataFrame,
    last_scores: pd.DataFrame,
    last_round: Mapping[str, object],
    manifest: pd.DataFrame,
) -> pd.DataFrame:
    """The run's whole history: the rows of every round, with the reviews of the run laid over them.

    Args:
        rounds: the rows of each round, those of iteration 0 first.
        events, last_scores, last_round: see `review_removals`.
        manifest: for `label` and `injected`.
    """
    return with_truth(review_removals(joined_rounds(rounds), events, last_scores, last_round), manifest)


def standing_removals(removals: pd.DataFrame, iteration: int | None = None) -> pd.DataFrame:
    """The images that are out after round `iteration` (None: at the end): their last row, if it removes them."""
    known = removals if iteration is None else removals[removals["iteration"] <= iteration]
    last = known.drop_duplicates("image_id", keep="last")
    return last[last["decision"].isin(GONE)]


def review_removals(
    removals: pd.DataFrame, events: pd.DataFrame, last_scores: pd.DataFrame, last_round: Mapping[str, object]
) -> pd.DataFrame:
    """Lay a reviewer's decisions over the removal table.

    Every row of a reviewed image takes the reviewer's decision, name, time and note; iteration, score, threshold
    and rule stay those of the round that decided before. A reviewed image that the refinement never removed gets a
    row of its own, from the last round: of two copies of one content of which a round removed one, the other, too.

    Args:
        removals: the table as the refinement left it.
        events: review events (`irp_core.refinement.reviews.REVIEW_SCHEMA`).
        last_scores: `image_id, md5, score` of the images that the last model trained on, by that model.
        last_round: `iteration`, `threshold` and `rule` of the last decision round.
    """
    decisions = current_decisions(events).set_index("md5")
    table = removals.copy()
    table[_REVIEW_COLUMNS] = table[_REVIEW_COLUMNS].astype(object)  # a column without a value has no type of its own
    reviewed = table["md5"].isin(decisions.index)
    for column in _REVIEW_COLUMNS:
        table.loc[reviewed, column] = table.loc[reviewed, "md5"].map(decisions[column])
    others = last_scores[last_scores["md5"].isin(decisions.index) & ~last_scores["image_id"].isin(table["image_id"])]
    added = others[["image_id", "md5", "score"]].join(decisions[_REVIEW_COLUMNS], on="md5")
    added = added.assign(
        iteration=last_round["iteration"],
        threshold=last_round["threshold"],
        rule=last_round["rule"],
        margin=added["score"] - float(str(last_round["threshold"])),
    ).reindex(columns=REMOVAL_SCHEMA.names)
    return pd.concat([table, added], ignore_index=True) if len(added) else table
