"""Deployments, made what they should be: those that are no longer wanted go, too."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tasks.runtime.environment  # noqa: F401  (before Prefect is imported)
from irp_core.errors import InputError
from tasks.deployments.lost_runs import HEARTBEAT_SECONDS, notice_lost_runs

__all__ = ["Deployed", "Trigger", "as_prefect", "deploy"]


@dataclass(frozen=True)
class Trigger:
    """An event that starts a run.

    Attributes:
        event: its name.
        resource: id of what it happened to.
        labels: further labels that the resource must have.
        parameters: of the run, besides the deployment's own.
    """

    event: str
    resource: str
    labels: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployed:
    """One deployment of a flow. It has one run at a time.

    Attributes:
        name: after the flow's own, e.g. `line3` for `retrain/line3`.
        flow: a Prefect flow of an installed module.
        parameters: of its runs.
        cron: five fields, or None.
        timezone: of `cron`.
        interval: seconds between runs, or None.
        starts_on: what starts a run.
        when_busy: a run that is due while another runs waits (`ENQUEUE`) or is dropped (`CANCEL_NEW`).
        description: shown in Prefect's pages.
    """

    name: str
    flow: Any
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cron: str | None = None
    timezone: str = "UTC"
    interval: int | None = None
    starts_on: Sequence[Trigger] = ()
    when_busy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"
    description: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.flow.name}/{self.name}"


def deploy(
    deployments: Sequence[Deployed], project: Path, *, pool: str = "irp", environment: Mapping[str, str] | None = None
) -> tuple[list[str], list[str]]:
    """Make the server's deployments for `project` what they should be: deploying again changes nothing.

    Runs are started by any `prefect worker start --pool POOL` and work in the folder `project`.

    Args:
        environment: variables of the runs besides the worker's.

    Returns:
        The names of the deployments, and of those that were deleted since nothing asks for them any more.

    Raises:
        InputError: no server is configured, it cannot be reached or refuses, or a work pool of that name is of
            another type.
    """
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if address is None:
        raise InputError(
            "Deployments expect a Prefect server that keeps running, found none: start one (`prefect server start`) "
            "and set PREFECT_API_URL to its address."
        )
    try:
        with get_client(sync_client=True) as client:
            _ensure_pool(client, pool)
            for wanted in deployments:
                _apply(client, wanted, project, pool, environment or {})
            notice_lost_runs(client)
            gone = _delete_others(client, {wanted.full_name for wanted in deployments}, project)
    except PrefectHTTPStatusError as error:
        raise InputError(f"{address}: Prefect refused ({str(error).splitlines()[0]}).") from None
    except HTTPError as error:
        raise InputError(f"{address}: expected a Prefect server, found none ({type(error).__name__}).") from None
    return [wanted.full_name for wanted in deployments], gone


def _ensure_pool(client: Any, pool: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        found = client.read_work_pool(pool)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))
        return
    if found.type != "process":
        raise InputError(f"Work pool {pool!r}: expected one of type process, found {found.type}.")


def _apply(client: Any, wanted: Deployed, project: Path, pool: str, environment: Mapping[str, str]) -> None:
    from prefect.types.entrypoint import EntrypointType

    deployment = as_prefect(
        wanted,
        tags=["irp", _tag(project)],
        work_pool_name=pool,
        job_variables={
            "working_dir": str(project.resolve()),
            "env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS), **environment},
        },
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    made = deployment.apply()
    if not deployment.schedules:  # `apply` leaves those of an earlier deployment as they are
        for schedule in client.read_deployment_schedules(made):
            client.delete_deployment_schedule(made, schedule.id)


def as_prefect(wanted: Deployed, **where: Any) -> Any:
    """As Prefect knows it, with its schedules and triggers.

    Args:
        where: further arguments of `RunnerDeployment.from_flow`, as the work pool.
    """
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Cron, Interval

    schedules: list[Any] = []
    if wanted.cron:
        schedules.append(Cron(wanted.cron, timezone=wanted.timezone))
    if wanted.interval:
        schedules.append(Interval(wanted.interval))
    return RunnerDeployment.from_flow(
        wanted.flow,
        name=wanted.name,
        parameters=dict(wanted.parameters),
        schedules=schedules or None,
        triggers=_triggers(wanted),
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy(wanted.when_busy)
        ),
        description=wanted.description,
        **where,
    )


def _triggers(wanted: Deployed) -> list[Any]:
    from prefect.events import DeploymentEventTrigger

    return [
        DeploymentEventTrigger(
            name=f"{trigger.event} starts {wanted.full_name}",
            expect={trigger.event},
            match={"prefect.resource.id": trigger.resource, **trigger.labels},
            parameters={**wanted.parameters, **trigger.parameters},
        )
        for trigger in wanted.starts_on
    ]


def _delete_others(client: Any, wanted: set[str], project: Path) -> list[str]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["irp", _tag(project)]))
    gone = []
    for known in _pages(client, ours):
        name = f"{client.read_flow(known.flow_id).name}/{known.name}"
        if name not in wanted:
            client.delete_deployment(known.id)
            gone.append(name)
    return sorted(gone)


def _pages(client: Any, wanted: Any, size: int = 100) -> list[Any]:
    found: list[Any] = []
    while True:
        page = client.read_deployments(deployment_filter=wanted, limit=size, offset=len(found))
        found += page
        if len(page) < size:
            return found


def _tag(project: Path) -> str:
    """Of a project's deployments: several projects may share a server."""
    return "irp-project-" + hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:12]
