"""An auditor's questions, answered from a run's tables: the history of an image, the difference of two sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from irp_core.refinement.reviews import KEPT_BY_REVIEW, REMOVED_BY_REVIEW
from irp_core.removals import RESTORED

__all__ = [
    "DIFFERENCE_COLUMNS",
    "HISTORY_COLUMNS",
    "REMOVED_THEN_KEPT",
    "TRAINED_ON_THEN_REMOVED",
    "defective_lower_bounds",
    "difference",
    "image_history",
    "removals_of_set",
    "thresholds_applied",
]

HISTORY_COLUMNS = [
    "image_id",
    "md5",
    "split",
    "iteration",
    "trained_on",
    "score",
    "threshold",
    "margin",
    "decision",
    "rule",
    "reviewer",
    "reviewed_at",
    "note",
]
DIFFERENCE_COLUMNS = ["image_id", "md5", "only_in", "why", "iteration", "score", "threshold", "rule", "reviewer"]
# A review that came after the training says what ought to be, not what was: `decision` then holds both.
REMOVED_THEN_KEPT = f"removed, later {KEPT_BY_REVIEW}"
TRAINED_ON_THEN_REMOVED = f"trained on, later {REMOVED_BY_REVIEW}"
_FROM_REMOVAL = ["threshold", "margin", "decision", "rule", "reviewer", "reviewed_at", "note"]


def thresholds_applied(iterations: pd.DataFrame, last_round: Mapping[str, Any]) -> dict[int, float]:
    """Model k → the threshold that its scores were held against (by round k + 1; the table lacks the last round).

    Args:
        last_round: of the run's summary.

    Example:
        >>> iterations = pd.DataFrame({"iteration": [0, 1], "threshold": [None, 2.4]})
        >>> thresholds_applied(iterations, {"threshold": 2.1})
        {0: 2.4, 1: 2.1}
    """
    return _by_model(iterations, last_round, "threshold")


def defective_lower_bounds(iterations: pd.DataFrame, last_round: Mapping[str, Any]) -> dict[int, float | None]:
    """Model k → the lower bound on the share of defective images that the scores came with; None where with none."""
    bounds = _by_model(iterations, last_round, "defective_lower_bound")
    return {model: None if pd.isna(bound) else bound for model, bound in bounds.items()}


def _by_model(iterations: pd.DataFrame, last_round: Mapping[str, Any], column: str) -> dict[int, Any]:
    later = iterations[iterations["iteration"] > 0]
    found = dict(zip((later["iteration"] - 1).tolist(), later[column].tolist(), strict=True))
    return found | {len(iterations) - 1: last_round[column]}


def image_history(
    manifest: pd.DataFrame, scores: pd.DataFrame, removals: pd.DataFrame, applied: Mapping[int, float]
) -> pd.DataFrame:
    """What one run did with one image: a row per model that trained on it, in order.

    An image that no model trained on has one row that says why: its split, or the decision that kept it out.

    Args:
        manifest: the image's rows of the manifest (several paths may have the same content).
        scores: its rows of the scores table.
        removals: its rows of the removal table.
        applied: see `thresholds_applied`.

    Returns:
        A table with `HISTORY_COLUMNS`; `decision` is `kept` where no removal row says otherwise.
    """
    rows: list[dict[str, object]] = []
    for image in manifest.to_dict("records"):
        known = {name: image[name] for name in ("image_id", "md5", "split")}
        decided = removals[removals["image_id"] == image["image_id"]]
        for score in scores[scores["image_id"] == image["image_id"]].sort_values("iteration").to_dict("records"):
            iteration = int(score["iteration"])
            limit = applied.get(iteration)
            row = {
                **known,
                "iteration": iteration,
                "trained_on": True,
                "score": score["score"],
                "threshold": limit,
                "margin": None if limit is None else score["score"] - limit,
                "decision": "kept",
            }
            found = decided[decided["iteration"] == iteration + 1]
            if len(found):
                row |= {name: found.iloc[0][name] for name in _FROM_REMOVAL}
                later = (scores["image_id"] == image["image_id"]) & (scores["iteration"] > iteration)
                last = iteration >= max(applied, default=0)
                if row["decision"] == KEPT_BY_REVIEW and not later.any() and not last:
                    row["decision"] = REMOVED_THEN_KEPT
                elif row["decision"] == REMOVED_BY_REVIEW and last:
                    row["decision"] = TRAINED_ON_THEN_REMOVED
            rows.append(row)
        # Out of the set, and scored all the same: the round that restored it.
        for back in decided[decided["decision"] == RESTORED].to_dict("records"):
            taken = {"iteration": int(back["iteration"]) - 1, "trained_on": False, "score": back["score"]}
            rows.append({**known, **taken, **{name: back[name] for name in _FROM_REMOVAL}})
        if not any(row["image_id"] == image["image_id"] for row in rows):
            excluded = decided[decided["iteration"] == 0]
            why = excluded.iloc[0][_FROM_REMOVAL].to_dict() if len(excluded) else {"decision": "not a training image"}
            rows.append({**known, "trained_on": False, **why})
    table = pd.DataFrame(rows, columns=HISTORY_COLUMNS)
    return table.sort_values(["image_id", "iteration"], kind="stable", ignore_index=True)


def removals_of_set(removals: pd.DataFrame, training_set: pd.DataFrame) -> pd.DataFrame:
    """The removal table beside the set that a model was trained on.

    Where a later review wants it otherwise than it was, `decision` says both.

    Args:
        removals: rows of the removal table, with the run's reviews laid over them.
        training_set: `image_id` of the set.
    """
    inside = removals["image_id"].isin(training_set["image_id"])
    decision = removals["decision"].astype(object)
    decision = decision.mask(~inside & (decision == KEPT_BY_REVIEW), REMOVED_THEN_KEPT)
    return removals.assign(decision=decision.mask(inside & (decision == REMOVED_BY_REVIEW), TRAINED_ON_THEN_REMOVED))


def difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    removals: Mapping[str, pd.DataFrame],
    manifests: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """Which images two training sets do not share, and why.

    Args:
        first, second: `image_id` and `md5` of the sets, called A and B in the answer.
        removals: "A" and "B" → the removal table of the set's run, up to the set's iteration.
        manifests: "A" and "B" → the manifest of the set's run.

    Returns:
        A table with `DIFFERENCE_COLUMNS`, one row per image and side: `only_in` names the set that has it, `why`
        says what the other set's run did with it.
    """
    sets = {"A": first, "B": second}
    rows: list[dict[str, object]] = []
    for side, other in (("A", "B"), ("B", "A")):
        merged = sets[side].merge(sets[other], on=["image_id", "md5"], how="left", indicator=True)
        elsewhere = manifests[other].set_index("image_id")
        # Whatever a later review says of it: an image of a removal row that is not in the set was removed.
        gone = removals[other].drop_duplicates("image_id", keep="last").set_index("image_id")
        by_content = sets[other].drop_duplicates("md5").set_index("md5")["image_id"]
        for image in merged.loc[merged["_merge"] == "left_only", ["image_id", "md5"]].to_dict("records"):
            name = image["image_id"]
            row: dict[str, object] = {**image, "only_in": side}
            if name in elsewhere.index and elsewhere.loc[name, "md5"] != image["md5"]:
                row["why"] = f"{other} has other content under this name (md5 {elsewhere.loc[name, 'md5']})"
            elif name in gone.index:
                removal = gone.loc[name]
                row |= {key: removal[key] for key in ("iteration", "score", "threshold", "rule", "reviewer")}
                decision = str(removal["decision"])
                became = REMOVED_THEN_KEPT if decision == KEPT_BY_REVIEW else decision
                row["why"] = f"{became.replace('_', ' ')} in {other}"
            elif name in elsewhere.index:
                row["why"] = f"not a training image of {other} (split {elsewhere.loc[name, 'split']})"
            elif image["md5"] in by_content.index:
                row["why"] = f"{other} has this content under the name {by_content[image['md5']]}"
            else:
                row["why"] = f"not in {other}'s data set"
            rows.append(row)
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS)
