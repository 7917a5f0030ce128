"""The tested set of packages can schedule: server, worker and a deployment every ten seconds end in a Completed run,
and `irp line watch` polls by the clock and starts a round on an event.

This is the test that tells when a pin of `pyproject.toml` may go (fastapi below 0.151, SQLAlchemy below 2.1).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from irp_core.config.lines import Inbox, Line
from irp_core.line.definition import write_line
from tasks.notify import INBOX_READY, resource_id
from tests.conftest import make_workspace
from tests.tasks.deployments.platform import Platform, platform_in

ROOT = Path(__file__).parents[2]
FLOW = """
from prefect import flow

@flow
def look_into_the_inbox() -> str:
    return "nothing new"
"""


def completed(platform: Platform, flow: str) -> list[dict[str, Any]]:
    asked = {
        "flows": {"name": {"any_": [flow]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    return platform.ask("flow_runs/filter", asked) or []


@pytest.mark.timeout(420)
def test_a_schedule_starts_runs_that_complete(tmp_path: Path) -> None:
    project = make_workspace(tmp_path)
    (project / "line.py").write_text(FLOW)
    (project / "inbox").mkdir()
    write_line(Line(name="line3", inbox="inbox", taking=Inbox(poll=5, settle=0.05)), project)
    with platform_in(project) as platform:
        watching = platform.start("flows.cli", "line", "watch", "line3", PYTHONPATH=str(ROOT))
        platform.ask("work_pools/", {"name": "line", "type": "process"})
        platform.start("prefect", "worker", "start", "--pool", "line", "--type", "process")
        night = ("--name", "night", "--pool", "line", "--interval", "10")
        platform.succeed("prefect", "--no-prompt", "deploy", "line.py:look_into_the_inbox", *night)
        platform.succeed("prefect", "automation", "ls")
        platform.until(lambda: completed(platform, "look-into-the-inbox"), "a scheduled run completes", 180)
        (run, *_) = completed(platform, "look-into-the-inbox")
        assert run["auto_scheduled"]
        assert run["created_by"]["type"] == "SCHEDULE"

        platform.until(lambda: completed(platform, "watch"), "a poll completes", 120)
        assert completed(platform, "watch")[0]["created_by"]["type"] == "SCHEDULE"
        event = {
            "event": INBOX_READY,
            "resource": {"prefect.resource.id": resource_id("line3")},
            "occurred": datetime.now(UTC).isoformat(),
            "id": str(uuid4()),
        }
        platform.ask("events", [event])
        platform.until(lambda: completed(platform, "retrain"), "the event's round completes", 120)
        assert completed(platform, "retrain")[0]["created_by"]["type"] == "AUTOMATION"  # with nothing new
        assert watching.poll() is None
