"""Tasks and flows as the plain functions that they are: for a run that needs no server to watch it.

For a small set Prefect costs more than the refinement. Inside `without_prefect` a call of a task or of a flow is a call
of its function; the steps, their order, their files and their retries are the same, and no server is started or asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["orchestrated", "without_prefect"]

_DIRECT: list[bool] = []


@contextmanager
def without_prefect() -> Iterator[None]:
    """Call tasks and flows directly; their run loggers say nothing."""
    from prefect import Flow, Task
    from prefect.logging import disable_run_logger

    of_tasks, of_flows = Task.__call__, Flow.__call__
    # Prefect knows no such mode. The two calls are what every task and flow of ours, present and to come, goes through.
    setattr(Task, "__call__", _task)  # noqa: B010
    setattr(Flow, "__call__", _flow)  # noqa: B010
    _DIRECT.append(True)
    try:
        with disable_run_logger():
            yield
    finally:
        _DIRECT.pop()
        setattr(Task, "__call__", of_tasks)  # noqa: B010
        setattr(Flow, "__call__", of_flows)  # noqa: B010


def orchestrated() -> bool:
    """Whether a Prefect API watches what runs here."""
    return not _DIRECT


def _flow(flow: Any, *arguments: Any, **named: Any) -> Any:
    return flow.fn(*arguments, **named)


def _task(task: Any, *arguments: Any, **named: Any) -> Any:
    for _ in range(task.retries or 0):
        try:
            return task.fn(*arguments, **named)
        except Exception as error:
            if task.retry_condition_fn is None or not task.retry_condition_fn(task, None, _Failed(error)):
                raise
            time.sleep(task.retry_delay_seconds)
    return task.fn(*arguments, **named)


class _Failed:
    """What a retry condition asks of a failed state."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> None:
        raise self._error
