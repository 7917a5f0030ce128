"""A Prefect API for the length of a run, where neither `PREFECT_API_URL` nor Prefect's profile names one.

Prefect can start a temporary server by itself, but that one prints a traceback to the terminal when it stops, starts
only at the first call, outlives a parent that was killed, and answers everybody. This one logs to a file, starts while
the images are still being read, ends with its parent, and answers nobody without the run's secret
(`tasks.runtime.prefect_child`).
"""

from __future__ import annotations

import os
import secrets
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from irp_core.errors import InputError
from tasks.runtime.prefect_child import Server

__all__ = ["configured_api", "prefect_server", "without_heartbeats"]

_START_SECONDS = 300
_ANSWER_SECONDS = 10  # of a server that somebody else runs


@contextmanager
def prefect_server(log: Path, *, schedules: bool = False) -> Iterator[Callable[[], None]]:
    """Start a server in the background unless one is configured; yield a function that waits until it answers.

    `PREFECT_API_URL` is set at once: Prefect can be imported while the server starts. Its database lies beside the log.

    Args:
        schedules: the server starts runs by the clock and on events, too.

    Raises:
        InputError: the configured server does not answer, or the temporary one does not come up (from the function).
    """
    if configured := configured_api():
        remedy = (
            f"PREFECT_API_URL {configured}: expected a Prefect server, found none; start it, or unset the address (in "
            "the environment or Prefect's profile) to have a temporary one"
        )
        yield lambda: _wait(configured, _ANSWER_SECONDS, remedy, lambda: None)
        return
    secret = f"irp:{secrets.token_urlsafe(24)}"
    with Server(log, secret, schedules=schedules) as server, ExitStack() as stack:
        before = {name: os.environ.get(name) for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
        stack.callback(_restore, before)
        stack.callback(_flush_logs)
        os.environ["PREFECT_API_URL"], os.environ["PREFECT_API_AUTH_STRING"] = server.url, secret
        stack.enter_context(_settings_of_imported_prefect(server.url, secret))

        def wait() -> None:
            remedy = f"The temporary Prefect server does not answer; see {log}, and what else this machine is doing"
            _wait(server.url, _START_SECONDS, remedy, server.check)
            server.ready()

        yield wait


def configured_api() -> str | None:
    """The address of the Prefect server that the environment or Prefect's profile names, without importing Prefect."""
    return os.environ.get("PREFECT_API_URL") or _of_profile()


def _of_profile() -> str | None:
    """The address in Prefect's active profile, without importing Prefect, which takes seconds."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    file = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    try:
        profiles = tomllib.loads(file.read_text(encoding="utf-8"))
        chosen = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
        return str(profiles["profiles"][chosen]["PREFECT_API_URL"])
    except (OSError, KeyError, TypeError, ValueError):  # none, or none that names an address
        return None


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _settings_of_imported_prefect(url: str, secret: str) -> AbstractContextManager[object]:
    """Prefect reads the environment when it is imported; where that has happened, its settings are changed."""
    if "prefect" not in sys.modules:
        return nullcontext()
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    return temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: secret})


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


def _wait(url: str, seconds: float, remedy: str, check: Callable[[], None]) -> None:
    """Wait until a server answers anything at all; `check` raises where waiting is of no use.

    Args:
        remedy: what is said where nobody answers.
    """
    import httpx

    deadline = time.monotonic() + seconds
    reason = "no answer"
    while time.monotonic() < deadline:
        check()
        try:
            httpx.get(f"{url}/health", timeout=5)
            return
        except (httpx.TransportError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            time.sleep(0.1)
    raise InputError(f"{remedy} (waited {seconds:.0f} s: {reason}).")
