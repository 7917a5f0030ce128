"""What a finished refinement says of itself without labels: the operating threshold, the estimated contamination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.config import digest
from irp_core.data.manifest import testing_rows
from irp_core.detectors import detector_class
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.features.pipeline import StoredFeatures
from irp_core.features.pooled import resolve_device
from irp_core.refinement.contamination_interval import share_interval
from irp_core.refinement.landscape import Landscape
from irp_core.refinement.outcome import Outcome, outcome
from irp_core.refinement.rounds import assess
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import read_operating, write_operating
from irp_core.statistics.mixture import estimate_contamination
from irp_core.statistics.operating_point import operating_point

__all__ = ["findings_of", "set_operating_point"]


@task(task_run_name="operating-threshold", cache_policy=NO_CACHE)
def set_operating_point(run_path: str, iteration: int, features: StoredFeatures) -> dict[str, Any] | None:
    """The final detector's operating threshold: a quantile of the kept images' out-of-fold scores.

    With labelled test images it is held against them (evaluation only). None where fewer than two different images
    are left: then there is no fold to leave out.
    """
    run = RunDirectory(Path(run_path))
    params = run.params()
    rows = run.training_set(iteration)
    if rows["md5"].nunique() < 2:
        return None
    kind = detector_class(params.detector.name)
    key = digest("operating", run.key("train", iteration), params.operating, params.views.score, params.run.seed)

    def make(folder: Path) -> None:
        seen = features.read(rows, params.views.score, kind.needs)
        device = resolve_device(params.features.device)
        scores = out_of_fold_scores(
            lambda: kind.build(seen, params, device),
            seen,
            rows["md5"].tolist(),
            folds=params.operating.folds,
            epochs=params.training.epochs,
            seed=params.run.seed,
        ).scores
        point = operating_point(scores, params.operating.false_alarm_rate)
        write_operating(folder, rows.assign(iteration=iteration, score=scores), asdict(point))

    with run.timed("operating threshold"):
        found = read_operating(run.do("operating", None, key, make))
    return found | _measured(run, iteration, found["threshold"])


def _measured(run: RunDirectory, iteration: int, threshold: float) -> dict[str, float]:
    """Shares of the good and of the defective test images above the threshold, where there are such."""
    if run.key("evaluate", iteration) is None:
        return {}
    scores = run.test_scores(iteration)
    truth = testing_rows(run.manifest()).set_index("image_id")["label"]
    labels = truth.loc[scores["image_id"]].to_numpy()
    above = scores["score"].to_numpy() > threshold
    measured = {"test_false_alarms": above[labels == "good"], "test_detected": above[labels == "defective"]}
    return {name: float(np.mean(values)) for name, values in measured.items() if len(values)}


def findings_of(run: RunDirectory, last_iteration: int) -> dict[str, Any]:
    """What the run says of its set: `contamination` (a share with a 90 % interval, or None) and `outcome`.

    Where the policy sees the landscape, the first round's assessment says how the run ends (clean, cleaned or
    undecided) and names the open questions; an interval is given only where answers tell of the share. An older
    reversible refinement estimates the share from the last round's scores.
    """
    policy = run.policy()
    if policy.sees_landscape:
        this = run.round_after(0)
        assessed = assess(this, policy)
        interval = None
        if assessed.belief is not None:
            interval = share_interval(assessed.landscape, assessed.belief, seed=this.seed)
        command = f"irp review {run.path} --ask {run.params().refinement.answers}"
        said = outcome(assessed, members=policy.members, command=command, interval=interval)
        share = None if interval is None else {name: getattr(interval, name) for name in ("share", "low", "high")}
        return {"contamination": share, "outcome": _plain(said, this.images, assessed.landscape, policy.members)}
    if not (policy.reversible and policy.score_on == "out_of_fold"):
        return {"contamination": None, "outcome": None}
    scores = run.scored(last_iteration)["score"].to_numpy()
    return {"contamination": asdict(estimate_contamination(scores, seed=run.params().run.seed)), "outcome": None}


def _plain(said: Outcome, images: pd.DataFrame, landscape: Landscape, members: Sequence[str]) -> dict[str, Any]:
    """An outcome by the images' names: of copies the first stands for all."""
    names = dict(zip(landscape.of_image[::-1].tolist(), images["image_id"][::-1], strict=True))
    groups = [
        {
            "detector": None if group.witness is None else members[group.witness],
            "share": group.share,
            "images": [names[place] for place in group.members],
            "representatives": [names[place] for place in group.representatives],
        }
        for group in said.groups
    ]
    singles = [names[place] for place in said.singles]
    return {"kind": said.kind, "sentences": list(said.sentences), "groups": groups, "singles": singles}
