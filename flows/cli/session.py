"""What a command that trains stands on: a Prefect API for its length, and its time booked on the runs it made."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from tasks.runtime.progress import is_quiet

__all__ = ["OF_COMMANDS", "close_session", "compare_methods", "left_off", "prefect_session"]

_STARTED = time.perf_counter()
# The terminal shows our own progress and summary, and errors as one sentence from `main`; every log line still reaches
# the Prefect API. A server that died is waited for 14 s per question (2 + 4 + 8), not 62.
OF_COMMANDS = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_CLIENT_MAX_RETRIES": "3",
}


def left_off(no_dvc: bool, no_prefect: bool = False) -> list[str]:
    """The overrides that `--no-dvc` and `--no-prefect` stand for."""
    return ["snapshots.enabled=false"] * no_dvc + ["run.orchestrate=false"] * no_prefect


@contextmanager
def prefect_session(
    meanwhile: Callable[[], None] = lambda: None, *, orchestrate: bool = True, schedules: bool = False
) -> Iterator[None]:
    """A Prefect API for what runs inside, and none of its log lines on the terminal.

    Args:
        meanwhile: work that can be done while the server starts.
        orchestrate: whether there is to be a server at all; without one, tasks and flows are called as functions.
        schedules: the server starts runs by the clock and on events, too.
    """
    for name, value in OF_COMMANDS.items():
        os.environ.setdefault(name, value)
    if not orchestrate:
        from tasks.runtime.without_prefect import without_prefect

        meanwhile()
        with without_prefect():
            yield
        return
    from tasks.runtime.prefect_server import configured_api, prefect_server, without_heartbeats

    heard = schedules or configured_api() is not None  # the temporary server has nobody who listens to heartbeats
    with prefect_server(Path(".irp/prefect-server.log"), schedules=schedules) as wait:
        meanwhile()
        with Console(stderr=True, quiet=is_quiet()).status("Starting Prefect …"):
            import flows.compare  # noqa: F401  (the long imports, while the server starts)

            wait()
        with nullcontext() if heard else without_heartbeats():
            yield


def close_session(runs: list[Path]) -> None:
    """Book what no stage accounts for (imports, the Prefect server, orchestration) on the session's runs."""
    from irp_core.run.directory import RunDirectory

    since = time.time() - (time.perf_counter() - _STARTED)
    booked = sum(sum(RunDirectory(path).timings(since).values()) for path in runs)
    rest = time.perf_counter() - _STARTED - booked
    for path in runs:
        run = RunDirectory(path)
        run.add_time("prefect" if run.params().run.orchestrate else "start", max(0.0, rest / len(runs)))


def compare_methods(
    console: Console,
    path: Path,
    params: dict[str, Any],
    methods: tuple[str, ...],
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    with prefect_session(meanwhile, orchestrate=params["run"]["orchestrate"]):
        from flows.compare import compare, comparison_table

        runs = compare(str(path), params, methods)
        close_session([Path(run) for run in runs.values()])
    from flows.terminal.run import show_comparison

    show_comparison(console, comparison_table(runs), runs)
    return runs
