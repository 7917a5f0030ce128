"""A run's final tables and summary, made from what its steps left, and the files of a decision round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from irp_core.data.manifest import testing_rows, training_rows
from irp_core.data.schemas import ITERATIONS_SCHEMA, TRAINING_SET_SCHEMA
from irp_core.refinement.policy import Policy
from irp_core.refinement.rounds import Decision, Round
from irp_core.removals import round_rows, standing_removals
from irp_core.results.findings import findings_of
from irp_core.run.directory import RunDirectory
from irp_core.run.removal_tables import decided_removals, write_removal_tables
from irp_core.run.step_files import write_decision
from irp_core.statistics.metrics import detection, removal

__all__ = ["round_summary", "write_result_tables", "write_round"]


def write_result_tables(
    run: RunDirectory, last_iteration: int, operating: Mapping[str, Any] | None, command: str | None = None
) -> dict[str, Any]:
    """Collect the iterations into the run's tables (scores, removals, images, iterations).

    Args:
        last_iteration: number of the last trained model.
        operating: the final detector's operating point; None: the last round's threshold has to serve.
        command: see `findings_of`.

    Returns:
        The run's summary, which is not written: a run is complete when it is there.
    """
    manifest = run.manifest()
    iterations = range(last_iteration + 1)
    decided = decided_removals(run, last_iteration + 1)
    write_removal_tables(run, last_iteration)
    run.write_all_scores(pd.concat([run.scores(k) for k in iterations], ignore_index=True))
    if tested := [run.test_scores(k) for k in iterations if run.key("evaluate", k)]:
        run.write_all_test_scores(pd.concat(tested, ignore_index=True))
    rows = [_row(run, k, manifest, decided) for k in iterations]
    run.write_iterations(pd.DataFrame(rows, columns=ITERATIONS_SCHEMA.names))
    last_round = run.decision(last_iteration + 1)
    noted = ("threshold", "defective_lower_bound", "max_score", "n_above")
    return {
        "run_id": run.run_id,
        "stop_reason": last_round["stop_reason"],
        "iterations": last_iteration,
        "n_start": len(training_rows(manifest)),
        "n_removed": len(training_rows(manifest)) - len(run.training_set(last_iteration)),
        "n_injected": int(manifest["injected"].sum()),
        **findings_of(run, last_iteration, command),
        "operating": None if operating is None else dict(operating),
        "last_round": {name: last_round[name] for name in noted},
    }


def _row(run: RunDirectory, iteration: int, manifest: pd.DataFrame, decided: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {
        "iteration": iteration,
        "n_train": len(run.scores(iteration)),
    }
    row |= {"n_removed": 0, "n_restored": 0}
    if iteration > 0:
        decision = run.decision(iteration)
        names = ("n_removed", "n_restored", "threshold", "defective_lower_bound", "max_score", "n_above")
        row |= {name: decision[name] for name in names}
    tested = testing_rows(manifest)
    if run.key("evaluate", iteration):
        scores = run.test_scores(iteration)
        found = detection(scores["score"], tested["label"] == "defective")
        row |= {"auroc": found.auroc, "average_precision": found.average_precision}
    so_far = standing_removals(decided, iteration)
    if manifest["label"].notna().any():
        quality = removal(so_far["injected"].eq(True).tolist(), int(manifest["injected"].sum()))
        row |= {"removal_precision": quality.precision, "removal_recall": quality.recall}
    return row


def write_round(run: RunDirectory, folder: Path, this: Round, decision: Decision) -> None:
    """Write what a round decided into its step's folder."""
    policy = run.policy()
    rows = round_rows(
        removed=decision.removed,
        restored=decision.restored,
        spared=decision.spared,
        iteration=this.iteration,
        threshold=decision.threshold,
        rule=policy.rule_label,
        decisions=run.decisions(),
        manifest=run.manifest(),
    )
    write_decision(folder, rows, decision.kept[TRAINING_SET_SCHEMA.names], round_summary(this, decision, policy))


def round_summary(this: Round, decision: Decision, policy: Policy) -> dict[str, Any]:
    """Threshold, counts, rule and reason to stop of a round."""
    inside = this.images.loc[this.images["inside"], "score"]
    return {
        "iteration": this.iteration,
        "threshold": decision.threshold,
        "defective_lower_bound": this.lower_bound,
        "max_score": float(inside.max()),
        "median_score": float(np.median(inside)),
        "n_scored": len(inside),
        "n_above": decision.n_above,
        "n_removed": len(decision.removed),
        "n_restored": len(decision.restored),
        "n_kept": len(decision.kept),
        "n_spared": len(decision.spared),
        "rule": policy.rule_label,
        "stop_reason": decision.stop_reason,
    }
