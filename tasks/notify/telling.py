"""`tell`: send an event to the line's webhook and to Prefect."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import tasks.runtime.environment  # noqa: F401  (before Prefect is imported)
from irp_core.config.lines import Line
from tasks.notify.events import EVENTS, INBOX_READY, event_name, resource_id, sentence
from tasks.notify.webhook import post
from tasks.runtime.prefect_server import configured_api

__all__ = ["inbox_ready", "tell"]


def tell(line: Line, event: str, payload: Mapping[str, Any], by: str = "round") -> list[str]:
    """Tell people, and Prefect's automations, what happened on a line.

    The webhook gets JSON: `id` (of this event, the same in every retry), `event` (`irp.promoted`), `line`, `occurred`
    (ISO 8601, UTC), `text` (one or two sentences for people) and `payload`. Prefect gets an event of that name and
    payload with the resource `irp.line.NAME`, where a server is configured; its label `irp.by` says who noticed.

    Args:
        event: one of `EVENTS`.
        payload: JSON values; `version` and `reason` go into the text.
        by: what noticed it: a `round`, or `monitor`.

    Returns:
        What failed, a sentence each; it is logged as a warning, too. A line goes on whatever happens here.

    Raises:
        ValueError: an unknown event, or a payload that is no JSON: a mistake of the caller, not of the network.
    """
    if event not in EVENTS:
        raise ValueError(f"event must be one of {', '.join(EVENTS)}. Got {event!r}.")
    try:
        plain = json.loads(json.dumps(dict(payload), allow_nan=False))
    except TypeError as error:
        raise ValueError(f"The payload of {event} must be JSON values: {error}.") from None
    message = {
        "id": str(uuid.uuid4()),
        "event": event_name(event),
        "line": line.name,
        "occurred": datetime.now(UTC).isoformat(timespec="seconds"),
        "text": sentence(event, line.name, plain),
        "payload": plain,
    }
    problems = [_emit(message, by)]
    if line.webhook:
        problems.append(post(line.webhook, message))
    told = [f"{line.name}: {message['event']} did not reach {problem}" for problem in problems if problem]
    for problem in told:
        logging.getLogger(__name__).warning("%s", problem)
    return told


def inbox_ready(line: str, payload: Mapping[str, Any]) -> None:
    """Tell Prefect, where a server is configured, that enough new images lie in a line's inbox."""
    message = {
        "id": str(uuid.uuid4()),
        "event": INBOX_READY,
        "line": line,
        "text": f"{line}: new images lie in the inbox.",
        "payload": dict(payload),
    }
    if problem := _emit(message, "inbox"):
        logging.getLogger(__name__).warning("%s: %s did not reach %s", line, INBOX_READY, problem)


def _emit(message: Mapping[str, Any], by: str) -> str | None:
    """Hand the event to Prefect, which sends it in the background; what failed, else None."""
    if configured_api() is None:  # Prefect takes a second to import, and a rollback should not wait for it
        return None
    from prefect.events import emit_event
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value() is None:  # else Prefect would start a server for it
        return None
    resource = {
        "prefect.resource.id": resource_id(message["line"]),
        "prefect.resource.name": message["line"],
        "irp.by": by,
    }
    try:
        emit_event(
            message["event"],
            resource,
            payload={"text": message["text"], **message["payload"]},
            id=uuid.UUID(message["id"]),
        )
    except Exception as error:  # too large, or whatever Prefect raises
        return f"Prefect ({type(error).__name__}: {error})."
    return None
