"""Recompute everything about a tracked run that can be recomputed, and name what does not agree.

What is trusted is MLflow's database (tags hold the hashes of everything else) and, where the `.dvc` files are
committed, git. The artifacts, DVC's cache and remote, and every table are checked against them and each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd
from mlflow.entities import Run

from irp_core.audit.findings import Finding, finding, names, row_differences
from irp_core.audit.history import defective_lower_bounds, thresholds_applied
from irp_core.config import Params
from irp_core.data.manifest import manifest_digest, set_digest, training_rows
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
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
from tasks.audit.verify_files import Progress, TrackedFiles
from tasks.tracking.reader import TrackedRun, find_run

__all__ = ["verify"]


def verify(
    reference: str,
    params: Params,
    *,
    rescore: bool = False,
    progress: Progress = lambda done, total: None,
    allow: Collection[str] = (),
) -> list[Finding]:
    """Check a run from end to end.

    Args:
        reference: see `tasks.tracking.reader.find_run`.
        params: for the tracking store and the device.
        rescore: score the last training set again with the stored weights, too.
        progress: called with (images hashed, images in all).
        allow: detectors of other packages that may be loaded to score again.

    Returns:
        All findings, in the order of the checks; none is left out because another failed.
    """
    run, _ = find_run(reference, params)
    if not run.ended:
        raise InputError(
            f"{run.run_id}: expected a finished run, found one that did not end ({run.parent.info.status})."
        )
    findings = [*_carried_out("artifact hashes", _artifacts(run)), *_carried_out("weights", _weights(run))]
    try:
        tables = _Tables(run)
    except Exception as error:  # not even readable: nothing further can be checked
        return [*findings, _broke_down("tables", error)]
    findings += _carried_out("training set", tables.sets())
    findings += _carried_out("decision", tables.decisions())
    findings += _carried_out("removal table", tables.removal_table())
    files = TrackedFiles(run, tables.training_sets)
    findings += _carried_out("DVC list", files.lists())
    findings += _carried_out("image contents", files.contents(progress))
    if rescore:
        findings += _carried_out("rescored", files.rescored(params.features.device, progress, allow))
    return findings


def _carried_out(check: str, findings: Iterator[Finding]) -> list[Finding]:
    """A check's findings; one that breaks down over what it reads has found something too."""
    found: list[Finding] = []
    try:
        for one in findings:
            found.append(one)
    except Exception as error:  # DVC, MLflow and the readers of tampered files each raise their own
        found.append(_broke_down(check, error))
    return found


def _broke_down(check: str, error: Exception) -> Finding:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Finding(check, "run", "failed", f"cannot be recomputed: {reason}")


def _artifacts(run: TrackedRun) -> Iterator[Finding]:
    """Every artifact's sha256 against the run's tags."""
    holders = [("run", run.parent), *((f"iteration {k}", model) for k, model in enumerate(run.models))]
    for place, holder in holders:
        known = run.known_files(holder)
        wrong = []
        for name, expected in known.items():
            try:
                found = file_sha256(run.file(name, holder, verify=False))
            except InputError:
                wrong.append(f"{name} is gone")
                continue
            if not run.is_logged(name, found, holder):
                wrong.append(f"{name} was changed (sha256 {found[:12]}…, logged as {expected[:12]}…)")
        yield finding("artifact hashes", place, wrong, f"{len(known)} files as logged")


def _weights(run: TrackedRun) -> Iterator[Finding]:
    """The weights of each model against the sha256 noted when it was trained."""
    for number, model in enumerate(run.models):
        place = f"iteration {number}"
        kept = run.weights(model)
        if kept is None:
            yield Finding("weights", place, "skipped", "not kept (tracking.keep_weights)")
            continue
        yield _same_weights(run, kept, model, place, model)
    inside = run.weights()
    if inside is None:
        yield Finding("weights", "final detector", "skipped", "not kept (run.outputs)")
    else:
        yield _same_weights(run, inside, run.parent, "final detector", run.models[-1])


def _same_weights(run: TrackedRun, artifact: str, holder: Run, place: str, model: Run) -> Finding:
    expected = model.data.tags["irp.weights_sha256"]
    try:
        found = file_sha256(run.file(artifact, holder, verify=False))
    except InputError as error:
        return Finding("weights", place, "failed", str(error))
    wrong = [] if found == expected else [f"{artifact} is not what was trained (sha256 {found[:12]}…)"]
    return finding("weights", place, wrong, f"sha256 {expected[:12]}…")


class _Tables:
    """Checks on the tables alone. Tables are read as they are, changed or not: each check speaks for itself."""

    def __init__(self, run: TrackedRun) -> None:
        self.run = run = run.as_it_is()
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
        expected = removal_history(rounds, self.run.reviews(), self.scores[-1], ended, self.manifest)
        found = self.run.removals()
        wrong = row_differences(expected, found) + self._image_differences(expected)
        if wrong and self.run.broken_off:  # each file is one that was logged, but not all at the same time
            how = f"its last upload broke off; `irp review` or `irp refine` again makes it good ({'; '.join(wrong)})"
            yield Finding("removal table", "run", "skipped", how)
            return
        yield finding("removal table", "run", wrong, f"{len(found)} rows are the rounds' decisions and the review's")

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
