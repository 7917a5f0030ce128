"""A line's schedule in one process on one machine: polls, rounds by the clock, and when enough images lie there."""

from __future__ import annotations

from pathlib import Path

from prefect import serve

from flows.line.monitor import monitor
from flows.line.retrain import retrain
from flows.line.watch import watch
from irp_core.config.lines import Line
from tasks.deployments import Deployed, Trigger, as_prefect
from tasks.notify import INBOX_READY, resource_id
from tasks.notify.events import event_name

__all__ = ["deployments_of_line", "starts_of_rounds", "watch_line"]


def starts_of_rounds(line: Line) -> list[Trigger]:
    """The events that begin a round of a line."""
    ready = Trigger(INBOX_READY, resource_id(line.name))
    if not line.monitoring.retrain:
        return [ready]
    # Of the monitor alone: a comparison in a round tells of drift, too, and a round after every round has no end.
    drifted = Trigger(event_name("drift"), resource_id(line.name), {"irp.by": "monitor"}, {"force": True})
    return [ready, drifted]


def deployments_of_line(line: Line, project: Path) -> list[Deployed]:
    """What runs by itself, each in the project's folder: `retrain`, `watch` and `monitor`.

    A round that is due while another is at work waits for it; a poll, or a look at the detector in service, that is due
    while another is at work is dropped.
    """
    given = {"line": line.name, "project": str(project)}
    return [
        Deployed(
            line.name,
            retrain,
            given,
            cron=line.cron,
            timezone=line.timezone,
            starts_on=starts_of_rounds(line),
            description=f"A round of {line.name}: by its schedule, and when enough new images lie in the inbox.",
        ),
        Deployed(
            line.name,
            watch,
            given,
            interval=line.taking.poll,
            when_busy="CANCEL_NEW",
            description=f"Look into the inbox of {line.name}.",
        ),
        Deployed(
            line.name,
            monitor,
            given,
            cron=line.monitoring.cron,
            timezone=line.timezone,
            when_busy="CANCEL_NEW",
            description=f"Whether new images of {line.name} still look like those its detector began with.",
        ),
    ]


def watch_line(line: Line, project: Path) -> None:
    """Serve the line's flows until the process is interrupted; each run is a process of its own."""
    serve(*map(as_prefect, deployments_of_line(line, project.resolve())), print_starting_message=False)
