"""A line's schedule in one process on one machine: polls, rounds by the clock, and when enough images lie there."""

from __future__ import annotations

from pathlib import Path

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.schedules import Cron, Interval

from flows.line.retrain import retrain
from flows.line.watch import READY, watch
from irp_core.config.lines import Line
from tasks.notify.events import resource_id

__all__ = ["watch_line"]


def watch_line(line: Line, project: Path) -> None:
    """Serve the line's flows until the process is interrupted; each run is a process of its own.

    A round that is due while another is at work waits for it; a poll that is due while another is at work is dropped.
    """
    parameters = {"line": line.name, "project": str(project.resolve())}
    ready = DeploymentEventTrigger(
        name=f"{READY} starts retrain/{line.name}",
        expect={READY},
        match={"prefect.resource.id": resource_id(line.name)},
        parameters=dict(parameters),
    )
    rounds = RunnerDeployment.from_flow(
        retrain,
        name=line.name,
        parameters=dict(parameters),
        schedules=[Cron(line.cron, timezone=line.timezone)] if line.cron else None,
        triggers=[ready],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
    )
    polls = RunnerDeployment.from_flow(
        watch,
        name=line.name,
        parameters=dict(parameters),
        schedules=[Interval(line.taking.poll)],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    )
    serve(rounds, polls, print_starting_message=False)
