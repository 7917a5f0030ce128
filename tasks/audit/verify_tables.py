"""Recompute the tables of a tracked run from each other: sets, decisions, the history of removals, final states."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from irp_core.audit.findings import Finding, finding, names, row_differences
from irp_core.audit.history import defective_lower_bounds, thresholds_applied
from irp_core.data.manifest import manifest_digest, set_digest, training_rows
from irp_core.refinement.careful.landscape import Landscape
from irp_core.refinement.policy import policy_of
from irp_core.refinement.reviews import KEPT_BY_REVIEW
from irp_core.refinement.rounds import Decision, Round, decide, decision_round
from irp_core.removals import (
    GONE,
    REMOVED,
    RESTORED,
    excluded_rows,
    image_states,
    removal_history,
)
from irp_core.run.inputs import RunInputs
from tasks.audit.known_digests import KnownDigests
from tasks.tracking.digests import events_digest
from tasks.tracking.reader import TrackedRun

__all__ = ["TrackedTables"]


class TrackedTables:
    """Checks on the tables alone. Tables are read as they are, changed or not: each check speaks for itself."""

    def __init__(self, run: TrackedRun, digests: KnownDigests) -> None:
        self.run = run = run.as_it_is()
        self.digests = digests
        self.manifest = run.manifest()
        self.scores = [run.scores(k) for k in range(len(run.models))]
        self.training_sets = [scores[["image_id", "md5"]] for scores in self.scores]
        self.removed = [run.decided(k) for k in range(len(run.models))]
        self.last_round = run.decided(len(run.models))
        self.summary = run.summary()
        self.params = run.params()
        inputs = RunInputs.of(run.record())
        self.policy = policy_of(self.params.refinement, random_counts=inputs.random_counts)
        self.iterations = run.iterations()
        self.standing = run.decisions()

    def sets(self) -> Iterator[Finding]:
        """The manifest, and each training set: its digest, and that it is the one before less what was removed."""
        wrong = [] if manifest_digest(self.manifest) == self.run.tags["irp.manifest_sha256"] else ["rows were changed"]
        yield finding("manifest", "run", wrong, f"{len(self.manifest)} rows, digest as tagged")
        start = training_rows(self.manifest)
        before = start[~start["md5"].isin(excluded_rows(self.standing, start)["md5"])]
        for number, (model, rows, removed) in enumerate(
            zip(self.run.models, self.training_sets, self.removed, strict=True)
        ):
            wrong = []
            if set_digest(rows) != model.data.tags["irp.set_sha256"]:
                wrong.append("the scores table lists other images than were trained on")
            gone = set(removed.loc[removed["decision"].isin(GONE), "image_id"]) if number else set()
            back = set(removed.loc[removed["decision"] == RESTORED, "image_id"]) if number else set()
            expected = set(before["image_id"]) - gone | back
            wrong += names("missing", expected - set(rows["image_id"]))
            wrong += names("too many", set(rows["image_id"]) - expected)
            yield finding("training set", f"iteration {number}", wrong, f"{len(rows)} images, removals add up")
            before = rows

    def decisions(self) -> Iterator[Finding]:
        """Each round, decided again: the same threshold, the same images, the same reason to stop."""
        rounds = [*self.removed[1:], self.last_round]
        noted = thresholds_applied(self.iterations, self.summary["last_round"])
        for number, table in enumerate(rounds, start=1):
            this = self._round(number)
            again = decide(this, self.policy, [frozenset(rows["image_id"]) for rows in self.training_sets[:number]])
            last = number == len(rounds)
            wrong = _disagreements(again, this, table, noted[number - 1])
            if last and again.stop_reason != self.summary["stop_reason"]:
                wrong.append(f"it should have gone on (noted: {self.summary['stop_reason']})")
            what = f"{len(again.removed)} removed above {again.threshold:.4g}"
            yield finding("decision", f"round {number}", wrong, f"stopped: {again.stop_reason}" if last else what)

    def _round(self, number: int) -> Round:
        """What round `number` decided from, by the tables that are on record."""
        injected = None
        if self.policy.reads_injected:
            injected = frozenset(self.manifest.loc[self.manifest["injected"], "image_id"])
        return decision_round(
            number,
            self.scores[number - 1],
            self._outside(number - 1),
            decisions=self.standing,
            lower_bound=defective_lower_bounds(self.iterations, self.summary["last_round"])[number - 1],
            seed=self.params.run.seed,
            injected=injected,
            landscape=self._landscape(number - 1),
        )

    def _outside(self, iteration: int) -> pd.DataFrame:
        """Scores of the images that had been removed by then, where the refinement is reversible."""
        return self.run.outside(iteration) if self.policy.scores_outside else self.scores[iteration].iloc[:0]

    def _landscape(self, iteration: int) -> Landscape | None:
        if not self.policy.sees_landscape:
            return None
        md5s = [*self.scores[iteration]["md5"], *self._outside(iteration)["md5"]]
        return Landscape.of_table(self.run.landscape(iteration), md5s)

    def removal_table(self) -> Iterator[Finding]:
        """The run's removal table against its parts: every round's rows, with the run's review laid over them."""
        ended = {
            "iteration": len(self.run.models),
            "threshold": self.summary["last_round"]["threshold"],
            "rule": self.policy.rule_label,
        }
        rounds = [*self.removed, self.last_round]
        events, found = self.run.reviews(), self.run.removals()

        def history(count: int) -> pd.DataFrame:
            return removal_history(rounds, events.head(count), self.scores[-1], ended, self.manifest)

        expected = history(len(events))
        wrong = row_differences(expected, found) + self._image_differences(expected)
        if wrong and self.run.broken_off and self._follows_from_earlier(history, found):
            how = "its last upload broke off; `irp review` or `irp refine` again makes it good"
            yield Finding("removal table", "run", "skipped", how)
        else:
            yield finding(
                "removal table", "run", wrong, f"{len(found)} rows are the rounds' decisions and the review's"
            )
        yield from self._reviews(events)

    def _follows_from_earlier(self, history: Callable[[int], pd.DataFrame], found: pd.DataFrame) -> bool:
        """Whether each of both tables is what it was after some of the review's events: the log is uploaded first."""
        earlier = [history(count) for count in range(len(self.run.reviews()) + 1)]
        removals = any(not row_differences(expected, found) for expected in earlier)
        return removals and any(not self._image_differences(expected) for expected in earlier)

    def _reviews(self, events: pd.DataFrame) -> Iterator[Finding]:
        """The log of the reviews: only appended to since the digests were noted, and no event unseen."""
        if self.digests.content is None:
            return
        noted = self.digests.content["reviews"]
        first = events.head(noted["events"])
        wrong = [] if events_digest(first.to_dict("records")) == noted["sha256"] else ["events were changed"]
        more = len(events) - noted["events"]
        if not wrong and more > 0 and self.run.broken_off:
            how = f"{more} events since the digests were noted; `irp review` or `irp refine` again makes it good"
            yield Finding("reviews", "run", "skipped", how)
            return
        wrong += [f"{more} events more than were noted"] if more > 0 else []
        yield finding("reviews", "run", wrong, f"{len(events)} events as noted")

    def _image_differences(self, removals: pd.DataFrame) -> list[str]:
        """The table of the images' final states against the history of removals; an older run has none."""
        found = self.run.images()
        if found is None:
            return []
        expected = image_states(
            training_rows(self.manifest),
            removals,
            pd.concat(
                [table for k in range(len(self.scores)) for table in (self.scores[k], self._outside(k))],
                ignore_index=True,
            ),
            self.training_sets[-1],
            thresholds_applied(self.iterations, self.summary["last_round"]),
            self.policy.rule_label,
            self.manifest,
        )
        return row_differences(expected, found)


def _disagreements(again: Decision, this: Round, table: pd.DataFrame, noted: float) -> list[str]:
    """Where a round's removal rows and its noted threshold differ from the decision made again."""
    wrong = []
    if not np.isclose(again.threshold, noted, rtol=1e-12):
        wrong.append(f"the threshold of these scores is {again.threshold:.6g}, noted is {noted:.6g}")
    for decision, rows in ((REMOVED, again.removed), (RESTORED, again.restored), (KEPT_BY_REVIEW, again.spared)):
        ours = set(rows["image_id"])
        theirs = set(table.loc[table["decision"] == decision, "image_id"])
        verb = decision.replace("_", " ")
        wrong += names(f"should be {verb}", ours - theirs) + names(f"should not be {verb}", theirs - ours)
    held = table.merge(this.images[["image_id", "score"]], on="image_id", suffixes=("", "_scored"))
    wrong += names("other score than in the scores", held.loc[held["score"] != held["score_scored"], "image_id"])
    other = ~np.isclose(table["threshold"].to_numpy(dtype=float), noted, rtol=1e-12)
    return wrong + names("other threshold than noted", table.loc[other, "image_id"])
