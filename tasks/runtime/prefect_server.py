"""A Prefect API for the length of a run, where `PREFECT_API_URL` names none.

Prefect can start a temporary server by itself, but that one prints a traceback to the terminal when it
stops, starts only at the first call, and outlives a parent that was killed. This one logs to a file,
starts while the images are still being read, and ends with its parent.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

__all__ = ["prefect_server", "without_heartbeats"]

_START_SECONDS = 120
# The child ends when its standard input does: on a clean exit and on `kill -9` of the parent alike.
_CHILD = """
import os, sys, threading
import uvicorn
server = uvicorn.Server(uvicorn.Config(
    "prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=int(sys.argv[1]),
    log_level="error", lifespan="on", timeout_graceful_shutdown=1))
def watch():
    sys.stdin.buffer.read()
    server.should_exit = True
    threading.Timer(2, os._exit, (0,)).start()  # time for the last events to reach the database
threading.Thread(target=watch, daemon=True).start()
server.run()
"""


@contextmanager
def prefect_server(log: Path) -> Iterator[Callable[[], None]]:
    """Start a server in the background unless one is configured; yield a function that waits until it answers.

    `PREFECT_API_URL` is set at once: Prefect can be imported while the server starts.

    Raises:
        RuntimeError: the server does not come up (from the function; names the log file).
    """
    if os.environ.get("PREFECT_API_URL"):
        yield lambda: None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    with open(log, "ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(port)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the run: the server must still hear how it ended
        )
    url = f"http://127.0.0.1:{port}/api"

    os.environ["PREFECT_API_URL"] = url
    try:
        with _settings_of_imported_prefect(url):
            yield lambda: _wait_until_healthy(url, child, log)
    finally:
        _flush_logs()
        os.environ.pop("PREFECT_API_URL", None)
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()


def _settings_of_imported_prefect(url: str) -> AbstractContextManager[object]:
    """Prefect reads the environment when it is imported; where that has happened, its settings are changed."""
    if "prefect" not in sys.modules:
        return nullcontext()
    from prefect.settings import PREFECT_API_URL, temporary_settings

    return temporary_settings({PREFECT_API_URL: url})


def without_heartbeats() -> AbstractContextManager[object]:
    """No heartbeats of the flow runs inside: each ends by waiting, up to a second, for the thread that sends them.

    They tell a server of runs that died. A sweep of hundreds of short runs is better served by the seconds.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def _flush_logs() -> None:
    """Send what Prefect's log handler still holds, or it complains on the terminal that nobody answers."""
    if "prefect.logging.handlers" in sys.modules:
        from prefect.logging.handlers import APILogWorker

        APILogWorker.drain_all(timeout=5)


def _wait_until_healthy(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"the temporary Prefect server ended with code {child.returncode}; see {log}.")
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the temporary Prefect server did not answer within {_START_SECONDS} s; see {log}.")
