"""What people are told about, stated once.

Example:
    >>> event_name("refused"), sentence("refused", "line3", {"version": "line3/7", "reason": "It misses more."})
    ('irp.refused', 'line3: line3/7 was refused. It misses more.')
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["EVENTS", "INBOX_READY", "event_name", "resource_id", "sentence"]

INBOX_READY = "irp.inbox.ready"
"""Prefect's event that enough new images lie in an inbox: it starts a round, and nobody is told."""

EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "challenger_waits": "{version} waits for a person's decision.",
        "promoted": "{version} is in service.",
        "refused": "{version} was refused.",
        "rolled_back": "{version} is in service again.",
        "failed": "A run failed.",
        "inbox_silent": "No new image came.",
        "contamination_high": "More of the new images are defective than the line's policy expects.",
        "drift": "The new images look different from the known ones.",
    }
)
"""Event → what it says; a payload may give `version` and, as a second sentence, `reason`."""


def event_name(event: str) -> str:
    """As Prefect's automations know it."""
    return f"irp.{event}"


def resource_id(line: str) -> str:
    """Of the line, as Prefect's automations know it."""
    return f"irp.line.{line}"


def sentence(event: str, line: str, payload: Mapping[str, Any]) -> str:
    """What happened, in one or two sentences."""
    said = EVENTS[event].format(version=payload.get("version") or "A version")
    return " ".join(filter(None, [f"{line}: {said}", str(payload.get("reason") or "").strip()]))
