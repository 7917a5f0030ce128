"""What a finished refinement says of its set without labels: the outcome, and the contamination where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from irp_core.refinement.careful.contamination_interval import share_interval
from irp_core.refinement.careful.landscape import Landscape
from irp_core.refinement.careful.outcome import Outcome, outcome
from irp_core.refinement.rounds import assess
from irp_core.run.directory import RunDirectory
from irp_core.statistics.mixture import estimate_contamination

__all__ = ["findings_of"]


def findings_of(run: RunDirectory, last_iteration: int, command: str | None = None) -> dict[str, Any]:
    """What the run says of its set: `contamination` (a share with a 90 % interval, or None) and `outcome`.

    Where the policy sees the landscape, the first round's assessment says how the run ends (clean, cleaned or
    undecided) and names the open questions; an interval is given only where answers tell of the share. An older
    reversible refinement estimates the share from the last round's scores.

    Args:
        command: what a user types to decide the open questions; None: `irp review` of this run.
    """
    policy = run.policy()
    if policy.sees_landscape:
        this = run.round_after(0)
        assessed = assess(this, policy)
        interval = None
        if assessed.belief is not None:
            interval = share_interval(assessed.landscape, assessed.belief, seed=this.seed)
        command = command or f"irp review {run.path} --ask {run.params().refinement.answers}"
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
            "detector": None if group.detector is None else members[group.detector],
            "share": group.share,
            "images": [names[place] for place in group.members],
            "representatives": [names[place] for place in group.representatives],
        }
        for group in said.groups
    ]
    singles = [names[place] for place in said.singles]
    return {"kind": said.kind, "sentences": list(said.sentences), "groups": groups, "singles": singles}
