"""What people say about the images that a service kept, and what that says about the others.

An answer is an event in the one log of decisions (`review.decisions`), matched by content: an image that was called
defective enters no later training set. The answers' model (`irp_core.refinement.careful.asking`) is fitted anew to all
answers at each question: a kind of defect that no training saw is ranked by the first images of it that somebody named,
without a retraining. The served scores and decisions stay those of the model that was promoted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from irp_core.refinement.careful.asking import believe
from irp_core.refinement.careful.landscape import landscape
from irp_core.refinement.reviews import (
    KEPT_BY_REVIEW,
    REMOVED_BY_REVIEW,
    append_events,
    current_decisions,
    event,
    read_events,
)
from tasks.serve.kept import Kept

__all__ = ["Answer", "Feedback"]


class Answer(BaseModel):
    """What a person says about one kept image."""

    model_config = ConfigDict(extra="forbid", strict=True)

    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    defective: bool
    reviewer: str = Field(pattern=r"\S", max_length=200)
    note: str = Field(default="", max_length=2000)


class Feedback:
    """Answers about the images of `kept`, in the log of decisions.

    Args:
        decisions: the log (`review.decisions`).
    """

    def __init__(self, kept: Kept, decisions: Path) -> None:
        self.kept, self.decisions = kept, decisions

    def record(self, answer: Answer) -> dict[str, Any]:
        """Put an answer on record; the image's row.

        Raises:
            KeyError: the image is not kept.
            InputError: a name or a note that is no text, or a log that cannot be written.
        """
        row = self.kept.row(answer.md5)
        said = event(
            REMOVED_BY_REVIEW if answer.defective else KEPT_BY_REVIEW,
            image_id=row["name"] or answer.md5,
            md5=answer.md5,
            reviewer=answer.reviewer,
            reviewed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            note=answer.note,
            run_id=f"served by {row['model']}",
        )
        append_events(self.decisions, [said])
        return self.kept.answer(answer.md5)

    def rows(self, model: str) -> list[dict[str, Any]]:
        """The kept images with `answer` (True: defective; None: nobody said) and `defective`, the probability after all
        answers (None where nothing is known yet); those that nobody answered for first, the most likely defect first.

        Args:
            model: the one in service: scores of others are on another scale, and not compared.
        """
        rows, told = self.kept.rows(), self._told()
        belief = self._belief([row for row in rows if row["model"] == model], told)
        known = [
            {**row, "answer": told.get(row["md5"]), "defective": belief.get(row["md5"])}
            for row in rows
        ]  # fmt: skip
        return sorted(known, key=lambda row: (row["answer"] is not None, -(row["defective"] or 0.0), -row["score"]))

    def _belief(self, rows: list[dict[str, Any]], told: dict[str, bool]) -> dict[str, float]:
        answers = {row["md5"]: told[row["md5"]] for row in rows if row["md5"] in told}
        if len(rows) < 3 or not answers:
            return {}
        scores = np.array([[max(row["score"], 1e-12)] for row in rows])
        features = np.stack([self.kept.features(row["md5"]) for row in rows])
        seen = landscape(scores, features, [row["md5"] for row in rows])
        found = believe(seen, answers).defective
        return {md5: float(share) for md5, share in zip(seen.contents, found, strict=True)}

    def _told(self) -> dict[str, bool]:
        if not self.decisions.exists():
            return {}
        standing = current_decisions(read_events(self.decisions))
        return dict(zip(standing["md5"], standing["decision"] == REMOVED_BY_REVIEW, strict=True))
