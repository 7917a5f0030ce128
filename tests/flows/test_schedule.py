"""The tested set of packages can schedule: server, worker and a deployment every ten seconds end in a Completed run.

This is the test that tells when a pin of `pyproject.toml` may go (fastapi below 0.151, SQLAlchemy below 2.1).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

FLOW = """
from prefect import flow

@flow
def look_into_the_inbox() -> str:
    return "nothing new"
"""


class Platform:
    """Prefect's own commands, run in a folder with a home and an address of their own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        self.folder, self.api = folder, f"http://127.0.0.1:{port}/api"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = {
            **inherited,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_API_PORT": port,
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Ask more often than by default (5 and 10 s).
            "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command; what it says is in `log`."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        with open(self.folder / "log", "ab") as log:
            child = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        self.started.append(child)
        return child

    def succeed(self, *arguments: str) -> None:
        """Run a command that has to succeed."""
        assert self.start(*arguments).wait(timeout=120) == 0, self.told(f"prefect {' '.join(arguments)} failed")

    def ask(self, path: str, body: object = None) -> Any:
        """The server's answer; None where there is none yet."""
        try:
            url = f"{self.api}/{path}"
            response = httpx.get(url) if body is None else httpx.post(url, json=body)
        except httpx.TransportError:
            return None
        assert response.is_success, self.told(f"{path}: {response.status_code} {response.text}")
        return response.json()

    def until(self, done: Callable[[], Any], what: str, seconds: float) -> None:
        """Wait; the seconds are those of a machine with much else to do."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.told(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.2)

    def told(self, message: str) -> str:
        return f"{message}\n{(self.folder / 'log').read_text(errors='replace')[-6000:]}"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform(tmp_path)
    yield made
    for child in reversed(made.started):  # the server last
        child.terminate()
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@pytest.mark.timeout(420)
def test_a_schedule_starts_runs_that_complete(platform: Platform) -> None:
    (platform.folder / "line.py").write_text(FLOW)
    platform.start("server", "start")
    platform.until(lambda: platform.ask("health"), "the server answers", 120)
    platform.ask("work_pools/", {"name": "line", "type": "process"})
    platform.start("worker", "start", "--pool", "line", "--type", "process")
    platform.succeed("deploy", "line.py:look_into_the_inbox", "--name", "night", "--pool", "line", "--interval", "10")
    platform.succeed("automation", "ls")
    completed = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    platform.until(lambda: platform.ask("flow_runs/filter", completed), "a scheduled run completes", 180)
    (run, *_) = platform.ask("flow_runs/filter", completed)
    assert run["auto_scheduled"]
    assert run["created_by"]["type"] == "SCHEDULE"
