"""What people say about the images that a service kept, and what that says about the others.

An answer is an event in the one log of decisions (`review.decisions`), matched by content: an image that was called
defective enters no later training set. The answers' model (`irp_core.refinement.careful.asking`) is fitted anew to all
answers at each question: a kind of defect that no training saw is ranked by the first images of it that somebody named,
without a retraining. The served scores and decisions stay those of the model that was promoted.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from irp_core.config import digest
from irp_core.refinement.careful.asking import believe
from irp_core.refinement.careful.landscape import Landscape, landscape
from irp_core.refinement.reviews import (
    KEPT_BY_REVIEW,
    REMOVED_BY_REVIEW,
    WITHDRAWN,
    append_events,
    current_decisions,
    event,
    read_events,
)
from tasks.feedback.kept_folder import KeptFolder

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

    def __init__(self, kept: KeptFolder, decisions: Path) -> None:
        self.kept, self.decisions = kept, decisions
        self._last: tuple[str, Landscape | None] = ("", None)

    def record(self, answer: Answer) -> dict[str, Any]:
        """Put an answer on record; the image's row.

        Raises:
            KeyError: the image is not kept.
            InputError: a name or a note that is no text, or a log that cannot be written.
        """
        decision = REMOVED_BY_REVIEW if answer.defective else KEPT_BY_REVIEW
        row = self._note(decision, answer.md5, answer.reviewer, answer.note)
        with suppress(KeyError):  # it made room for another meanwhile; the answer is in the log
            row = self.kept.answer(answer.md5)
        return {**row, "answered": True}

    def withdraw(self, md5: str, reviewer: str) -> None:
        """Take back what the reviewer answered about an image: another's answer, else none, counts again.

        Raises:
            KeyError, InputError: as `record`.
        """
        self._note(WITHDRAWN, md5, reviewer, "")
        with suppress(KeyError):  # as above
            self.kept.answer(md5, answered=md5 in self.said())

    def _note(self, decision: str, md5: str, reviewer: str, note: str) -> dict[str, Any]:
        """Put an event on record; the image's row."""
        row = self.kept.row(md5)
        said = event(
            decision,
            image_id=row["name"] or md5,
            md5=md5,
            reviewer=reviewer,
            reviewed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            note=note,
            run_id=f"served by {row['model']}",
        )
        append_events(self.decisions, [said])
        return row

    def rows(self, model: str | None = None) -> list[dict[str, Any]]:
        """The kept images with `answer` (True: defective; None: nobody said) and `defective`, the probability after all
        answers (None where nothing is known yet); those that nobody answered for first, the most likely defect first.

        Args:
            model: the one in service: scores of others are on another scale, and not compared. None: the one that
                kept the latest image.
        """
        rows, told = self.kept.rows(), self._told()
        model = rows[0]["model"] if model is None and rows else model
        belief = self._belief([row for row in rows if row["model"] == model], told)
        known = [
            {**row, "answer": told.get(row["md5"]), "defective": belief.get(row["md5"])}
            for row in rows
        ]  # fmt: skip
        return sorted(known, key=lambda row: (row["answer"] is not None, -(row["defective"] or 0.0), -row["score"]))

    def said(self) -> dict[str, dict[str, Any]]:
        """md5 → the decision of the log that counts about it (`irp_core.refinement.reviews`)."""
        if not self.decisions.exists():
            return {}
        table = current_decisions(read_events(self.decisions))
        return {row["md5"]: row for row in table.astype(object).where(table.notna(), None).to_dict("records")}

    def resembling(self, md5: str, count: int = 6) -> list[str]:
        """The md5 of the kept images that resemble one most, the nearest first; of those that its model kept.

        Raises:
            KeyError: it is not kept.
        """
        model = self.kept.row(md5)["model"]
        seen = self._landscape([row for row in self.kept.rows() if row["model"] == model])
        if seen is None or md5 not in seen.contents:
            return []
        return [seen.contents[place] for place in seen.neighbours[seen.contents.index(md5)][:count]]

    def _belief(self, rows: list[dict[str, Any]], told: dict[str, bool]) -> dict[str, float]:
        answers = {row["md5"]: told[row["md5"]] for row in rows if row["md5"] in told}
        seen = self._landscape(rows) if answers else None
        if seen is None:
            return {}
        answers = {md5: answer for md5, answer in answers.items() if md5 in seen.contents}
        found = believe(seen, answers).defective
        return {md5: float(share) for md5, share in zip(seen.contents, found, strict=True)}

    def _landscape(self, rows: list[dict[str, Any]]) -> Landscape | None:
        """Where the kept images of one model stand among each other; None of fewer than three.

        The last one is held: a page asks for it at each decision, and no answer changes it.
        """
        listed = digest(sorted([row["md5"], row["score"], row["at"]] for row in rows))
        known, held = self._last
        if listed != known:
            held = self._stand(rows)
            self._last = (listed, held)  # at once: another thread sees the one or the other
        return held

    def _stand(self, rows: list[dict[str, Any]]) -> Landscape | None:
        features = {}
        for row in rows:
            with suppress(FileNotFoundError):  # it made room for another meanwhile
                features[row["md5"]] = self.kept.features(row["md5"])
        if len(features) < 3:
            return None
        scores = np.array([[max(row["score"], 1e-12)] for row in rows if row["md5"] in features])
        return landscape(scores, np.stack(list(features.values())), list(features))

    def _told(self) -> dict[str, bool]:
        return {md5: row["decision"] == REMOVED_BY_REVIEW for md5, row in self.said().items()}
