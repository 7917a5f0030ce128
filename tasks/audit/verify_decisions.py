"""Check the file of standing decisions: its rows against their digests, and against what the run has on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from irp_core.audit.findings import Finding, finding
from irp_core.refinement.reviews import APPROVED, changed_events, read_events
from tasks.tracking.reader import TrackedRun

__all__ = ["standing_decisions"]

_KEY = ["md5", "run_id", "reviewer", "reviewed_at"]


def standing_decisions(run: TrackedRun, file: Path | None) -> Iterator[Finding]:
    """What later runs respect is what was decided.

    Args:
        file: `review.decisions`; where it is not, nothing is said: an audit needs no project.
    """
    if file is None or not file.exists():
        return
    check, place = "decisions", str(file)
    if changed := changed_events(file):
        yield finding(check, place, [f"{what} was changed since it was written" for what in changed], "")
        return
    standing = read_events(file)
    reviews = run.reviews()
    known = pd.concat([run.decisions(), reviews], ignore_index=True)
    known = known[known["decision"] != APPROVED].drop_duplicates(_KEY, keep="last")
    both = known.merge(standing, on=_KEY, suffixes=("", "_there"))
    wrong = [
        f"{row.image_id or row.md5}, by {row.reviewer}: {row.decision_there}, the run's review says {row.decision}"
        for row in both.itertuples()
        if row.decision != row.decision_there
    ]
    yield finding(check, place, wrong, f"{len(standing)} rows as they were written")
    said = reviews[reviews["decision"] != APPROVED]
    gone = said.merge(standing[_KEY].drop_duplicates(), on=_KEY, how="left", indicator=True)["_merge"] == "left_only"
    if gone.any():
        how = f"{gone.sum()} of the {len(said)} decisions of its review are not in it (taken out, or made elsewhere)"
        yield Finding(check, place, "skipped", how)
