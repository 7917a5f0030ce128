"""Look into a line's inbox: take in what is complete, and say when a round is due.

Of every poll after which a round is due the event `irp.inbox.ready` tells Prefect's automations; a deployment of
`retrain` may start on it.
"""

from __future__ import annotations

import time
from typing import Any

from prefect import flow
from prefect.events import emit_event
from prefect.logging import get_run_logger

from flows.line.working import opened
from irp_core.config.lines import Line
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.line.rounds import open_round
from irp_core.line.selection import due
from tasks.inbox.poll import poll
from tasks.inbox.rounds import new_decisions
from tasks.notify import tell
from tasks.notify.events import resource_id

__all__ = ["READY", "watch"]

READY = "irp.inbox.ready"
_SILENT = "silent_since"


@flow(name="watch", flow_run_name="watch-{line}", persist_result=False)
def watch(line: str, project: str = ".") -> dict[str, Any]:
    """Poll the inbox once.

    Args:
        line: the line's name.
        project: the project's folder.

    Returns:
        `taken`, `waiting` (numbers of files), and `due`: why a round is due, None where none is.
    """
    with opened(line, project) as (definition, params):
        found = poll(definition, params)
        folder = LineFolder(line)
        images = Ledger(folder.ledger).images()
        reason = due(images, definition, time.time(), new_decisions(definition, params))
        if open_round(folder) is not None and reason is None:
            reason = "a round was begun and did not end"
        if reason is not None:
            resource = {"prefect.resource.id": resource_id(line), "prefect.resource.name": line}
            emit_event(READY, resource, payload={"reason": reason})
        _silence(definition, float(images["taken_at"].max()) if len(images) else None)
    get_run_logger().info("%d taken in, %d waiting; %s", found.taken, found.waiting, reason or "no round is due")
    return {"taken": found.taken, "waiting": found.waiting, "due": reason}


def _silence(line: Line, last: float | None) -> None:
    """Tell once when no image has come for too long, and again only after one has come."""
    after = line.taking.silent_after
    note = LineFolder(line.name).path / _SILENT
    if after is None or last is None or time.time() - last < after:
        note.unlink(missing_ok=True)
        return
    if not note.exists():
        hours = (time.time() - last) / 3600
        tell(line, "inbox_silent", {"reason": f"The last one was taken in {hours:.1f} hours ago."})
        note.write_text(f"{last}\n", encoding="utf-8")
