"""A plant's platform in small: a Prefect server and what else is started beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.flows.test_second_clone import free_port

__all__ = ["Platform", "platform_in"]


class Platform:
    """Commands run in a folder with a home of their own and a server's address.

    Args:
        environment: of all commands, besides this process's.
    """

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.folder, self.api = folder, f"http://127.0.0.1:{port}/api"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = {
            **inherited,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Ask more often than by default (5, 10 and 30 s).
            "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
            **environment,
        }
        secret = self.environment.get("PREFECT_SERVER_API_AUTH_STRING")
        self.auth = (secret.partition(":")[0], secret.partition(":")[2]) if secret else None
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `prefect …` or `mlflow …`; what it says is in `log`."""
        arguments = [sys.executable, "-m", *command]
        everything = self.environment | environment
        with open(self.folder / "log", "ab") as log:
            child = subprocess.Popen(arguments, cwd=self.folder, env=everything, stdout=log, stderr=log)
        self.started.append(child)
        return child

    def succeed(self, *command: str) -> None:
        """Run a command that has to succeed."""
        assert self.start(*command).wait(timeout=120) == 0, self.told(f"{' '.join(command)} failed")

    def ask(self, path: str, body: object = None) -> Any:
        """The server's answer; None where there is none yet."""
        try:
            with httpx.Client(base_url=self.api, auth=self.auth, timeout=60) as client:
                response = client.get(path) if body is None else client.post(path, json=body)
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
def platform_in(
    folder: Path,
    *,
    port: int | None = None,
    server: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Platform]:
    """A server that answers; all that was started ends with it.

    Args:
        server: the server's command, where it is not the plain one; it listens on `port`.
    """
    chosen = port or free_port()
    made = Platform(folder, chosen, environment or {})
    made.start(*(server or ["prefect", "server", "start", "--port", str(chosen)]))
    try:
        made.until(lambda: made.ask("health"), "the server answers", 240)
        yield made
    finally:
        for child in reversed(made.started):  # the server last
            child.terminate()
        for child in reversed(made.started):
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
