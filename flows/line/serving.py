"""A line's schedule in one process on one machine: polls, rounds by the clock, and when enough images lie there."""

from __future__ import annotations

from pathlib import Path

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Interval

from flows.line.monitor import monitor
from flows.line.retrain import retrain
from flows.line.watch import watch
from irp_core.config.lines import Line
from tasks.deployments import Trigger, prefect_triggers
from tasks.notify import INBOX_READY, resource_id
from tasks.notify.events import event_name

__all__ = ["starts_of_rounds", "watch_line"]


def starts_of_rounds(line: Line) -> list[Trigger]:
    """The events that begin a round of a line."""
    ready = Trigger(INBOX_READY, resource_id(line.name))
    if not line.monitoring.retrain:
        return [ready]
    # Of the monitor alone: a comparison in a round tells of drift, too, and a round after every round has no end.
    drifted = Trigger(event_name("drift"), resource_id(line.name), {"irp.by": "monitor"}, {"force": True})
    return [ready, drifted]


def watch_line(line: Line, project: Path) -> None:
    """Serve the line's flows until the process is interrupted; each run is a process of its own.

    A round that is due while another is at work waits for it; a poll, or a look at the detector in service, that is due
    while another is at work is dropped.
    """
    parameters = {"line": line.name, "project": str(project.resolve())}
    rounds = RunnerDeployment.from_flow(
        retrain,
        name=line.name,
        parameters=dict(parameters),
        schedules=[Cron(line.cron, timezone=line.timezone)] if line.cron else None,
        triggers=prefect_triggers(starts_of_rounds(line), f"{retrain.name}/{line.name}", parameters),
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
    )
    polls = RunnerDeployment.from_flow(
        watch,
        name=line.name,
        parameters=dict(parameters),
        schedules=[Interval(line.taking.poll)],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    )
    looks = RunnerDeployment.from_flow(
        monitor,
        name=line.name,
        parameters=dict(parameters),
        schedules=[Cron(line.monitoring.cron, timezone=line.timezone)] if line.monitoring.cron else None,
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    )
    serve(rounds, polls, looks, print_starting_message=False)
