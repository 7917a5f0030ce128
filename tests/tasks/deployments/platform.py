"""A plant's platform in small: a Prefect server, on PostgreSQL where one is given, and a process worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.flows.test_second_clone import free_port

__all__ = ["Platform", "platform_in"]


class Platform:
    """Prefect's own commands, run in a folder with a home and an address of their own."""

    def __init__(self, folder: Path, database: str | None = None, auth: str | None = None) -> None:
        port = str(free_port())
        self.folder, self.api = folder, f"http://127.0.0.1:{port}/api"
        self.auth = tuple(auth.split(":", 1)) if auth else None
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
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
            **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}),
            **({"PREFECT_SERVER_API_AUTH_STRING": auth, "PREFECT_API_AUTH_STRING": auth} if auth else {}),
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
            with httpx.Client(auth=self.auth, timeout=60) as client:
                response = (
                    client.get(f"{self.api}/{path}") if body is None else client.post(f"{self.api}/{path}", json=body)
                )
        except httpx.TransportError:
            return None
        assert response.is_success, self.told(f"{path}: {response.status_code} {response.text}")
        return response.json() if response.content else None

    def until(self, done: Callable[[], Any], what: str, seconds: float) -> None:
        """Wait; the seconds are those of a machine with much else to do."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.told(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.2)

    def told(self, message: str) -> str:
        return f"{message}\n{(self.folder / 'log').read_text(errors='replace')[-6000:]}"


@contextmanager
def platform_in(folder: Path, database: str | None = None, auth: str | None = None) -> Iterator[Platform]:
    """A server that answers; all that was started ends with it."""
    made = Platform(folder, database, auth)
    made.start("server", "start")
    try:
        made.until(lambda: made.ask("health"), "the server answers", 120)
        yield made
    finally:
        for child in reversed(made.started):  # the server last
            child.terminate()
            try:
                child.wait(timeout=15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
