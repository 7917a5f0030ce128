"""Runs whose process or machine died: Prefect hears no heartbeat of them any more and marks them as crashed.

Until then such a run keeps the one slot of its deployment, and the next run waits. A run sends a heartbeat every
`HEARTBEAT_SECONDS`; three that are missing mark it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import tasks.runtime.environment  # noqa: F401  (before Prefect is imported)

__all__ = ["HEARTBEAT_SECONDS", "notice_lost_runs"]

HEARTBEAT_SECONDS = 30  # the shortest that Prefect takes
_NAME = "irp: runs that were lost"
_ENDED = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended", "AwaitingRetry")


def notice_lost_runs(client: Any, within: float = 3 * HEARTBEAT_SECONDS) -> None:
    """Make the automation that marks them, or bring it up to date; one that somebody paused stays so.

    Args:
        client: of Prefect, a synchronous one.
        within: seconds without a heartbeat.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    beat = "prefect.flow-run.heartbeat"
    known = client.read_automations_by_name(_NAME)
    wanted = AutomationCore(
        name=_NAME,
        description="A run that sends no heartbeat any more is marked as crashed; then the next one starts.",
        enabled=known[0].enabled if known else True,
        trigger=EventTrigger(
            after={beat},
            expect={beat, *(f"prefect.flow-run.{state}" for state in _ENDED)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=within),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                force=False,
                message=f"No heartbeat for {within:.0f} s: the process or its machine is gone.",
            )
        ],
    )
    if known:
        client.update_automation(known[0].id, wanted)
    else:
        client.create_automation(wanted)
