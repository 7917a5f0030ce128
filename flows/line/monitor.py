"""Look at the detector that a line has in service: do its new images still look like those it began with?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows.line.working import opened
from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.errors import InputError
from tasks.monitoring import LineSeen, watch_line
from tasks.promotion.registry import CHAMPION, open_registry

__all__ = ["look_at_line", "monitor"]


@flow(name="monitor", flow_run_name="monitor-{line}", persist_result=False)
def monitor(line: str, project: str = ".") -> dict[str, Any]:
    """Score what the line took in since the last time, and tell people where drift began.

    Args:
        line: the line's name.
        project: the project's folder.

    Returns:
        `scored`, `windows`, `alarms` (numbers), `told` (a sentence, or None) and `page`.
    """
    with opened(line, project) as (definition, params):
        seen = look_at_line(definition, params)
    windows = seen.watched.windows
    get_run_logger().info("%d images scored. %s", seen.scored, seen.watched.verdict)
    alarms = int(windows["alarm"].sum())
    return {
        "scored": seen.scored, "windows": len(windows), "alarms": alarms, "told": seen.told, "page": str(seen.page),
    }  # fmt: skip


def look_at_line(line: Line, params: Params) -> LineSeen:
    """The same without Prefect, in the project's folder.

    Raises:
        InputError: nothing is in service.
    """
    with open_registry(line, params) as registry:
        version, began = registry.aliases().get(CHAMPION), registry.in_service_since()
    if version is None or began is None:
        raise InputError(f"{line.name}: expected a version in service, found none; see `irp line status {line.name}`.")
    return watch_line(line, params, version, datetime.fromisoformat(began))
