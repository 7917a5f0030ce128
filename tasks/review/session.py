"""A person's review of a run: what is shown, and where a decision is written.

Every decision is an event in the run's folder, changes the run's removal tables, and goes to the standing
decisions (`review.decisions`), which every later run respects.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from irp_core.data.manifest import training_rows
from irp_core.errors import InputError
from irp_core.refinement.reviews import (
    APPROVED,
    KEPT_BY_REVIEW,
    REMOVED_BY_REVIEW,
    WITHDRAWN,
    approval,
    current_decisions,
    event,
)
from irp_core.removals import RESTORED
from irp_core.run.directory import RunDirectory
from irp_core.run.lasting import check_rounds
from irp_core.run.removal_tables import decided_removals
from irp_core.run.review_log import bring_up_to_date, record_event

__all__ = ["Review"]

_BORDERLINE = (10, 200)  # at least, at most so many images just below the threshold
_NEIGHBOURS = 3  # on either side


@dataclass(frozen=True)
class Review:
    """The review of one finished run.

    Raises:
        InputError: the run did not end, or what would be shown was changed since.
    """

    run: RunDirectory

    def __post_init__(self) -> None:
        if not self.run.has_results():
            raise InputError(f"{self.run.path}: expected a finished run, found one that did not end.")
        check_rounds(self.run)
        bring_up_to_date(self.run)

    @cached_property
    def last_iteration(self) -> int:
        return int(self.run.summary()["iterations"])

    @cached_property
    def scores(self) -> pd.DataFrame:
        return self.run.all_scores()

    @cached_property
    def names(self) -> dict[str, str]:
        """md5 → the first `image_id` with this content, of every image of the run."""
        manifest = self.run.manifest().drop_duplicates("md5")
        return dict(zip(manifest["md5"], manifest["image_id"], strict=True))

    @cached_property
    def items(self) -> pd.DataFrame:
        """What is shown: every decision of the refinement, and the kept images nearest to the threshold.

        Columns `image_id, md5, kind, iteration, score, threshold, rule`; `kind` is `removed`, `kept_by_review`,
        `removed_by_review` (by an earlier decision) or `borderline`. Highest score against its threshold first.
        """
        columns = ["image_id", "md5", "kind", "iteration", "score", "threshold", "rule"]
        decided = decided_removals(self.run, self.last_iteration + 1)
        # An image that several rounds removed, or kept for a reviewer, is one thing to decide about.
        decided = decided.drop_duplicates("md5", keep="last")
        decided = decided[decided["decision"] != RESTORED]
        last_round = self.run.decision(self.last_iteration + 1)
        kept = self.scores[self.scores["iteration"] == self.last_iteration]
        kept = kept[~kept["md5"].isin(decided["md5"])].drop_duplicates("md5")
        kept = kept.sort_values("score", ascending=False, kind="stable")
        near = int((kept["score"] > (1 - self.run.params().review.borderline) * last_round["threshold"]).sum())
        at_least, at_most = _BORDERLINE
        borderline = kept.head(min(max(near, at_least), at_most)).assign(
            iteration=last_round["iteration"],
            threshold=last_round["threshold"],
            rule=last_round["rule"],
            kind="borderline",
        )
        found = pd.concat([decided.rename(columns={"decision": "kind"})[columns], borderline[columns]])
        order = (found["score"] / found["threshold"]).fillna(float("inf"))
        return found.assign(order=order).sort_values("order", ascending=False, kind="stable")[columns]

    def neighbours(self, md5: str) -> pd.DataFrame:
        """The images that scored just above and just below this one in the round that decided about it.

        Columns `image_id, md5, score`, highest score first, without the image itself.
        """
        item = self._item(md5)
        ranked = self._ranked(max(0, int(item["iteration"]) - 1))
        at = ranked.index[ranked["md5"] == md5]
        if not len(at):
            return ranked.head(0)[["image_id", "md5", "score"]]
        around = ranked.iloc[max(0, at[0] - _NEIGHBOURS) : at[0] + _NEIGHBOURS + 1]
        return around.loc[around["md5"] != md5, ["image_id", "md5", "score"]]

    def _ranked(self, iteration: int) -> pd.DataFrame:
        """The scores of a round, highest first: sorted once, not at every picture that is looked at."""
        if iteration not in self._by_round:
            of_round = self.scores[self.scores["iteration"] == iteration]
            self._by_round[iteration] = of_round.sort_values("score", ascending=False, kind="stable", ignore_index=True)
        return self._by_round[iteration]

    @cached_property
    def _by_round(self) -> dict[int, pd.DataFrame]:
        return {}

    def decisions(self) -> dict[str, dict[str, Any]]:
        """md5 → the decision that counts now."""
        table = current_decisions(self.run.reviews())
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        return {row["md5"]: row for row in rows}

    def decide(self, md5: str, keep: bool, reviewer: str, note: str = "") -> None:
        """Keep an image, or remove it.

        Raises:
            InputError: the image is not of this run.
        """
        self._record(KEPT_BY_REVIEW if keep else REMOVED_BY_REVIEW, self._image_id(md5), md5, reviewer, note)

    def withdraw(self, md5: str, reviewer: str) -> None:
        """Take the reviewer's own decision about an image back: another's, else the refinement's counts again."""
        self._record(WITHDRAWN, self._image_id(md5), md5, reviewer, "")

    def approve(self, reviewer: str, note: str = "") -> None:
        """Approve the run as it now stands."""
        self._record(APPROVED, None, None, reviewer, note)

    def approved(self) -> dict[str, str | None] | None:
        """The approval that counts now."""
        return approval(self.run.reviews())

    def contradictions(self) -> pd.DataFrame:
        """Decisions that the final training set does not respect: only another run can.

        A decision is about a content: it is respected where all its copies are in, or all are out.
        """
        decisions = current_decisions(self.run.reviews())
        final = self.scores.loc[self.scores["iteration"] == self.last_iteration, "image_id"]
        copies = training_rows(self.run.manifest())[["image_id", "md5"]]
        inside = copies["image_id"].isin(final).groupby(copies["md5"]).agg(["all", "any"]).reindex(decisions["md5"])
        kept = (decisions["decision"] == KEPT_BY_REVIEW).to_numpy()
        respected = np.where(kept, inside["all"].eq(True), inside["any"].ne(True))
        return decisions[~respected].reset_index(drop=True)

    def _record(self, decision: str, image_id: str | None, md5: str | None, reviewer: str, note: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        row = event(
            decision,
            image_id=image_id,
            md5=md5,
            reviewer=reviewer,
            reviewed_at=at,
            note=note,
            run_id=self.run.run_id,
        )
        record_event(self.run, row)

    def _item(self, md5: str) -> dict[str, Any]:
        found = self.items[self.items["md5"] == md5]
        if found.empty:
            raise InputError(f"{self.run.run_id}: no image with md5 {md5} is up for review.")
        return {str(name): value for name, value in found.iloc[0].items()}

    def _image_id(self, md5: str) -> str:
        if md5 not in self.names:
            raise InputError(f"{self.run.run_id}: expected an image of this run, found none with md5 {md5}.")
        return self.names[md5]
