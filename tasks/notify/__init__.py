"""Telling people what happened on a line: a webhook and Prefect's events. Nothing here decides anything, and nothing
that fails here stops a line."""

from tasks.notify.events import EVENTS, INBOX_READY, resource_id
from tasks.notify.telling import inbox_ready, tell

__all__ = ["EVENTS", "INBOX_READY", "inbox_ready", "resource_id", "tell"]
