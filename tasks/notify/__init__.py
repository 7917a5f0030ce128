"""Telling people what happened on a line: a webhook and Prefect's events. Nothing here decides anything, and nothing
that fails here stops a line."""

from tasks.notify.events import EVENTS
from tasks.notify.telling import tell

__all__ = ["EVENTS", "tell"]
