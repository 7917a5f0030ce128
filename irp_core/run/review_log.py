"""One log of review events per run is the truth; the standing decisions and the removal tables are derived from it.

An event is on record once it is in the run's log, which is written whole. What follows from it is noted as done when it
is; whoever opens the run next does what a kill left undone.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from filelock import FileLock

from irp_core.atomic import read_json_object, write_json
from irp_core.errors import InputError
from irp_core.refinement.reviews import APPROVED, append_events
from irp_core.run.directory import RunDirectory, runs_in
from irp_core.run.files import REVIEWS_DONE
from irp_core.run.removal_tables import write_removal_tables

__all__ = ["bring_all_up_to_date", "bring_up_to_date", "record_event"]

_LOG = logging.getLogger(__name__)


def record_event(run: RunDirectory, row: dict[str, str | None]) -> None:
    """Put an event on record, and derive what follows from it.

    The same again (a second click, or a second try after what follows had failed) is no second event.
    """
    with FileLock(run.review_lock):
        events = run.reviews()
        if not (
            run.path / REVIEWS_DONE
        ).exists():  # the first, or a log of irp up to 0.7, whose events were carried out
            write_json(run.path / REVIEWS_DONE, {"events": len(events)})
        if not _is_repeated(events, row):
            run.write_reviews(pd.concat([events, pd.DataFrame([row])], ignore_index=True))
        _derive(run)


def bring_up_to_date(run: RunDirectory) -> None:
    """Derive what a kill left undone of the run's events."""
    if not run.is_reviewed():
        return
    with FileLock(run.review_lock):
        _derive(run)


def bring_all_up_to_date(runs: Path, standing: Path) -> None:
    """The same for all runs below `runs` whose decisions go to the file `standing`: another run is about to read it."""
    for run in runs_in(runs):
        try:
            if run.is_reviewed() and (named := run.params().review.decisions) and Path(named) == standing:
                bring_up_to_date(run)
        except InputError as error:  # another run's lost files are no reason not to begin this one
            _LOG.warning("%s Its review may be missing among the decisions.", error)


def _derive(run: RunDirectory) -> None:
    events = run.reviews()
    done = _done(run, len(events))
    if done >= len(events):
        return
    standing = run.params().review.decisions
    new = events.iloc[done:]
    new = new[new["decision"] != APPROVED].astype(object)
    if standing is not None and len(new):
        append_events(Path(standing), new.where(new.notna(), None).to_dict("records"))
    write_removal_tables(run, int(run.summary()["iterations"]))
    write_json(run.path / REVIEWS_DONE, {"events": len(events)})


def _done(run: RunDirectory, events: int) -> int:
    """Events that everything was derived from; where that cannot be read none: to do it again changes nothing."""
    file = run.path / REVIEWS_DONE
    if not file.exists():
        return events
    try:
        return int(read_json_object(file, "events")["events"])
    except (InputError, TypeError, ValueError):
        return 0


def _is_repeated(events: pd.DataFrame, row: dict[str, str | None]) -> bool:
    if row["decision"] == APPROVED:
        about = events.tail(1)
    else:
        about = events[(events["md5"] == row["md5"]) & (events["decision"] != APPROVED)].tail(1)
    if about.empty:
        return False
    last = about.astype(object).where(about.notna(), None).iloc[0]
    return all(last[name] == row[name] for name in ("decision", "reviewer", "note", "md5"))
