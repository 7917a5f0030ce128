"""Thirty answers instead of a guess: ask a person about the image whose answer tells most, and say what follows.

Answers are decisions like any other (`tasks.review.session`): in the run's tables, among the standing decisions, and
respected by every later run. What is asked next is a function of the run and of the answers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from irp_core.errors import InputError
from irp_core.refinement.careful.asking import believe, next_question
from irp_core.refinement.careful.assessment import assessment
from irp_core.refinement.careful.contamination_interval import share_interval
from irp_core.refinement.careful.outcome import outcome
from irp_core.refinement.policy import Policy
from irp_core.refinement.reviews import current_decisions
from irp_core.refinement.rounds import Round, answers_of
from irp_core.results.again import again
from tasks.review.session import Review

__all__ = ["SIMULATED", "Asking"]

SIMULATED = "simulated from the labels"
"""The reviewer's name under which an experiment's answers are on record."""


@dataclass(frozen=True)
class Asking:
    """Questions about one finished run.

    Attributes:
        review: where the answers go.
        count: how many questions.

    Raises:
        InputError: the run's method decided from scores alone and left nothing to ask from.
    """

    review: Review
    count: int

    def __post_init__(self) -> None:
        if not self.policy.sees_landscape:
            method = self.review.run.params().refinement.method
            raise InputError(
                f"{self.review.run.path}: expected a run of method careful, which knows what to ask, found {method}; "
                f"`irp review {self.review.run.path}` shows its removals."
            )

    @cached_property
    def policy(self) -> Policy:
        return self.review.run.policy()

    @cached_property
    def round(self) -> Round:
        """The first decision round, from which the run decided."""
        return self.review.run.round_after(0)

    @cached_property
    def already(self) -> frozenset[str]:
        """The contents that were answered before this session."""
        return frozenset(self.answers())

    def answers(self) -> dict[str, bool]:
        """md5 → defective: the decisions that the run began with, and those of its review so far."""
        events = pd.concat([self.review.run.decisions(), self.review.run.reviews()], ignore_index=True)
        return answers_of(current_decisions(events))

    def state(self) -> dict[str, Any]:
        """The next question, and what the answers so far say.

        Keys: `answered` (in this session) and `count`; `question` (None at the end) with `md5`, `image_id`, the
        probability `defective` and `like_it`, the md5 of up to three images that resemble it; `removed`, how many
        images would be removed now; `sentences`, what that rests on.
        """
        before = self.already  # of the session's start: read it before the first answer
        told = self.answers()
        landscape = self.round.landscape
        assert landscape is not None
        answers = self.round.by_content(told)
        answered = len(set(told) - before)
        assessed = assessment(landscape, answers, expected=self.policy.expected)
        belief = assessed.belief or believe(landscape, answers, expected=self.policy.expected)
        question = next_question(landscape, belief) if answered < self.count else None
        interval = None
        if assessed.belief is not None:
            interval = share_interval(landscape, belief, seed=self.round.seed)
        said = outcome(assessed, members=self.policy.members, command=self.command, interval=interval)
        names = dict(zip(self.round.images["md5"], self.round.images["image_id"], strict=True))
        first = {content: md5 for md5, content in reversed(self.round.content_of().items())}
        shown = None
        if question is not None:
            md5 = first[landscape.contents[question.content]]
            like_it = [first[landscape.contents[place]] for place in question.like_it]
            shown = {"md5": md5, "image_id": names[md5], "defective": question.defective, "like_it": like_it}
        return {
            "answered": answered,
            "count": self.count,
            "question": shown,
            "removed": int(assessed.removed.sum()),
            "outcome": said.kind,
            # Not the one that says which command asks: it is running.
            "sentences": [sentence for sentence in said.sentences if self.command not in sentence],
        }

    def answer(self, md5: str, defective: bool, reviewer: str, note: str = "") -> None:
        """Record what a person says of an image.

        Raises:
            InputError: the image is not of this run.
        """
        _ = self.already
        self.review.decide(md5, keep=not defective, reviewer=reviewer, note=note)

    def answer_from_labels(self) -> None:
        """Let the labels answer all questions: an experiment, on record as such.

        Raises:
            InputError: a data set without labels.
        """
        manifest = self.review.run.manifest()
        if manifest["label"].isna().all():
            raise InputError(f"--simulate: expected a data set with labels, found none in {self.review.run.path}.")
        defective = dict(zip(manifest["md5"], manifest["label"] == "defective", strict=True))
        while (question := self.state()["question"]) is not None:
            self.answer(question["md5"], bool(defective[question["md5"]]), SIMULATED)

    @property
    def command(self) -> str:
        """What decides the questions that are still open."""
        return f"irp review {self.review.run.path} --ask {self.count}"

    @property
    def again(self) -> str:
        """The command whose run respects the answers."""
        return again(self.review.run)
