"""The removal tables of a run, made from what its decision rounds and its reviews left in its folder."""

from __future__ import annotations

import pandas as pd

from irp_core.data.manifest import training_rows
from irp_core.removals import excluded_rows, image_states, joined_rounds, removal_history, with_truth
from irp_core.run.directory import RunDirectory

__all__ = ["decided_removals", "final_images", "removal_tables", "write_removal_tables"]


def decided_removals(run: RunDirectory, last_round: int) -> pd.DataFrame:
    """The history as the refinement decided it up to a round, before any review of the run."""
    return joined_rounds(_rounds(run, last_round))


def write_removal_tables(run: RunDirectory, last_iteration: int) -> None:
    """Write both tables of a run, whole: the history of removals and the final state of every training image."""
    run.write_removals(*_tables(run, last_iteration))


def final_images(run: RunDirectory) -> pd.DataFrame:
    """The final state of every training image of a finished run; where an older version wrote none, from its steps."""
    if run.has_images():
        return run.images()
    return removal_tables(run)[1]


def removal_tables(run: RunDirectory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of a finished run, made again: the history of removals, the final state of every training image."""
    return _tables(run, int(run.summary()["iterations"]))


def _tables(run: RunDirectory, last_iteration: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    manifest, decision = run.manifest(), run.decision(last_iteration + 1)
    history = removal_history(
        _rounds(run, last_iteration + 1), run.reviews(), run.scores(last_iteration), decision, manifest
    )
    models = range(last_iteration + 1)
    images = image_states(
        training_rows(manifest),
        history,
        pd.concat([run.scored(k) for k in models], ignore_index=True),
        run.training_set(last_iteration),
        {k: float(run.decision(k + 1)["threshold"]) for k in models},
        str(decision["rule"]),
        manifest,
    )
    return history, images


def _rounds(run: RunDirectory, last_round: int) -> list[pd.DataFrame]:
    manifest = run.manifest()
    kept_out = with_truth(excluded_rows(run.decisions(), training_rows(manifest)), manifest)
    return [kept_out, *(run.decided(k) for k in range(1, last_round + 1))]
