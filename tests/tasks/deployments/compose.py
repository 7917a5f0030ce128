"""The services of deploy/compose.yaml without containers: their commands and environments, in this machine's places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["COMPOSE", "SECRETS", "Service", "compose_file", "interpolated", "services"]

COMPOSE = Path(__file__).parents[3] / "deploy" / "compose.yaml"
SECRETS = {
    "IRP_DATABASE_PASSWORD": "database0secret",
    "IRP_PREFECT_AUTH": "irp:prefect0secret",
    "IRP_MLFLOW_PASSWORD": "mlflow0secret123",
    "IRP_MLFLOW_SECRET_KEY": "key0secret",
    "IRP_PROJECT": "/srv/irp",
    "IRP_INBOX": "/srv/inbox",
}


@dataclass(frozen=True)
class Service:
    command: list[str]
    environment: dict[str, str]


def compose_file() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")))


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """As Compose replaces `${NAME:?message}` and `${NAME:-default}`; a KeyError where a value has to be set."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        return values.get(name) or rest if kind == ":-" else values[name]

    return re.sub(r"\$\{(\w+)(:-|:\?)([^}]*)\}", value, text)


def services(here: Mapping[str, str]) -> dict[str, Service]:
    """All services.

    Args:
        here: what stands in the file → what it is on this machine; longer texts first.
    """

    def local(value: object) -> str:
        text = interpolated(str(value), SECRETS)
        for there, now in here.items():
            text = text.replace(there, now)
        return text

    return {
        name: Service(
            [local(part) for part in service.get("command", [])],
            {key: local(value) for key, value in service.get("environment", {}).items()},
        )
        for name, service in compose_file()["services"].items()
    }
