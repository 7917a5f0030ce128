"""The tested set of packages can schedule: server, worker and a deployment every ten seconds end in a Completed run.

This is the test that tells when a pin of `pyproject.toml` may go (fastapi below 0.151, SQLAlchemy below 2.1).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.deployments.platform import platform_in

FLOW = """
from prefect import flow

@flow
def look_into_the_inbox() -> str:
    return "nothing new"
"""


@pytest.mark.timeout(420)
def test_a_schedule_starts_runs_that_complete(tmp_path: Path) -> None:
    (tmp_path / "line.py").write_text(FLOW)
    with platform_in(tmp_path) as platform:
        platform.ask("work_pools/", {"name": "line", "type": "process"})
        platform.start("prefect", "worker", "start", "--pool", "line", "--type", "process")
        night = ("--name", "night", "--pool", "line", "--interval", "10")
        platform.succeed("prefect", "--no-prompt", "deploy", "line.py:look_into_the_inbox", *night)
        platform.succeed("prefect", "automation", "ls")
        completed = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        platform.until(lambda: platform.ask("flow_runs/filter", completed), "a scheduled run completes", 180)
        (run, *_) = platform.ask("flow_runs/filter", completed)
        assert run["auto_scheduled"]
        assert run["created_by"]["type"] == "SCHEDULE"
