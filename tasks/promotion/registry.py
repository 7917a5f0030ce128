"""Which version of a line is in service: the aliases `champion`, `challenger` and `previous`, and how they change.

Every change is put on record first (`tasks.tracking.records`) and then carried out by steps that may be repeated: what
a kill left half done the next change completes. A change takes a few queries; no Prefect is needed for it.

A lock keeps the changes of one project apart. MLflow has none for those of several machines: whoever has changed
something reads the records again, and where another change was begun meanwhile the last one of them stands, for both;
its record names what it really replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from tasks.tracking.artifacts import DELETED_TAG
from tasks.tracking.queries import client_of
from tasks.tracking.records import (
    ASKED,
    PROMOTED,
    REFUSED,
    ROLLED_BACK,
    Record,
    begin_record,
    finish_record,
    note_replaced,
    records_of,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "ROUND",
    "STATE",
    "WAITING",
    "Registry",
    "open_registry",
    "split_version",
]

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
WAITING = "waiting"
STATE = "irp.state"
"""Tag of a version: `waiting`, `promoted`, `refused` or `rolled back`."""
ROUND = "irp.round"
"""Tag of a version: the round that made it."""
_LOCK_SECONDS = 300


def split_version(reference: str) -> tuple[str, str]:
    """Line and version of `line3/7`.

    Raises:
        InputError: something else.

    Example:
        >>> split_version("line3/7")
        ('line3', '7')
    """
    match = re.fullmatch(r"([\w-]+)/(\d+)", reference)
    if match is None:
        raise InputError(f"{reference!r}: expected a version of a line, LINE/NUMBER, for example line3/7.")
    return match[1], match[2]


@contextmanager
def open_registry(line: Line, params: Params) -> Iterator[Registry]:
    """The versions of a line, under its lock; what a kill left half done is completed first."""
    folder = LineFolder(line.name).make()
    with FileLock(folder.registry_lock, timeout=_LOCK_SECONDS):
        registry = Registry(line, params, client_of(params))
        for record in registry.records():
            if not record.done:
                registry.carry_out(record)
        yield registry


@dataclass(frozen=True)
class Registry:
    """The versions of one line; see `open_registry`."""

    line: Line
    params: Params
    client: MlflowClient

    def aliases(self) -> dict[str, str]:
        """Alias → version."""
        try:
            model = self.client.get_registered_model(self.line.name)
        except MlflowException:  # nothing was registered yet
            return {}
        return {alias: str(version) for alias, version in dict(model.aliases).items()}

    def version(self, number: str) -> Any:
        """A version.

        Raises:
            InputError: none of that number.
        """
        try:
            return self.client.get_model_version(self.line.name, number)
        except MlflowException:
            raise InputError(
                f"{self.line.name}/{number}: no such version at {self.params.tracking.uri}; "
                f"see `irp line status {self.line.name}`."
            ) from None

    def version_of_run(self, mlflow_run: str) -> Any:
        """The version that a run's model was registered as."""
        found = [v for v in self.client.search_model_versions(f"run_id='{mlflow_run}'") if v.name == self.line.name]
        if not found:
            raise InputError(f"{self.line.name}: expected the model of run {mlflow_run} to be registered, found none.")
        return min(found, key=lambda version: int(version.version))

    def state(self, number: str) -> str:
        return str(self.version(number).tags.get(STATE, WAITING))

    def tag(self, number: str, tags: dict[str, Any]) -> None:
        """Tag a version; None is not written."""
        for key, value in tags.items():
            if value is not None:
                self.client.set_model_version_tag(self.line.name, number, key, str(value))

    def enter(self, number: str, round_number: int, tags: dict[str, Any]) -> None:
        """Make a new version the challenger. Its tag `irp.round` comes last: with it, all of it was done."""
        self.tag(number, {STATE: WAITING, **tags})
        self.client.set_registered_model_alias(self.line.name, CHALLENGER, number)
        self.tag(number, {ROUND: round_number})

    def records(self) -> list[Record]:
        """The line's events, the first first."""
        return records_of(self.client, self.line.name)

    def held(self) -> Record | None:
        """The rollback after which no version is promoted but by a person; None where the policy decides."""
        last = _changes(self.records())[-1:]
        return last[0] if last and last[0].event == ROLLED_BACK else None

    def in_service_since(self) -> str | None:
        """When the version in service was put there (UTC, ISO 8601); None where none is."""
        last = _changes(self.records())[-1:]
        return last[0].at if last else None

    def promote(self, number: str, by: str, why: str, **record: Any) -> Record:
        """Put a version into service.

        Args:
            record: `round`, `verdict` and `files` of the record.

        Raises:
            InputError: it is in service already.
        """
        champion = self.aliases().get(CHAMPION)
        if champion == number:
            raise InputError(f"{self.line.name}/{number}: is in service already.")
        self._expect_weights(number)
        return self._do(PROMOTED, number, champion, by, why, **record)

    def refuse(self, number: str, by: str, why: str, **record: Any) -> Record:
        """Do not put a version into service.

        Raises:
            InputError: it is in service: that is taken back by a rollback.
        """
        champion = self.aliases().get(CHAMPION)
        if champion == number:
            raise InputError(
                f"{self.line.name}/{number}: is in service; `irp rollback {self.line.name}` takes it back."
            )
        self.version(number)
        return self._do(REFUSED, number, champion, by, why, **record)

    def ask(self, number: str, why: str, **record: Any) -> Record:
        """Put on record that a person has to decide."""
        return self._do(
            ASKED, number, self.aliases().get(CHAMPION), f"policy {self.line.promotion.mode}", why, **record
        )

    def roll_back(self, by: str, why: str, to: str | None = None) -> Record:
        """Take the version in service back: the one before it is in service again.

        Args:
            to: the version to go back to; None: the one that was replaced.

        Raises:
            InputError: there is none to go back to, or `to` was never in service.
        """
        aliases, records = self.aliases(), self.records()
        champion = aliases.get(CHAMPION)
        if champion is None:
            raise InputError(f"{self.line.name}: expected a version in service, found none.")
        served = {record.version for record in records if record.event == PROMOTED}
        target = to or aliases.get(PREVIOUS) or _before(champion, records)
        if target is None:
            raise InputError(f"{self.line.name}: expected a version in service before {champion}, found none.")
        if target not in served or target == champion:
            known = ", ".join(sorted(served - {champion}, key=int)) or "none"
            raise InputError(f"{self.line.name}/{target}: expected a version that was in service before ({known}).")
        self._expect_weights(target)
        return self._do(ROLLED_BACK, champion, target, by, why)

    def _expect_weights(self, number: str) -> None:
        """Refuse to put a version into service that is none any more."""
        if deleted := self.version(number).tags.get(DELETED_TAG):
            raise InputError(f"{self.line.name}/{number}: its weights were deleted {deleted} (irp gc).")

    def carry_out(self, record: Record) -> None:
        """Make the aliases say what a record says, if no later one says otherwise; to do it again changes nothing."""
        if record.event == PROMOTED:
            self.tag(record.version, {STATE: PROMOTED, "irp.promoted_at": record.at})
        elif record.event in (ROLLED_BACK, REFUSED):
            self.tag(record.version, {STATE: record.event})
        if record.event in (PROMOTED, ROLLED_BACK):
            self._put_into_service()
        if record.event in (PROMOTED, REFUSED, ROLLED_BACK) and self.aliases().get(CHALLENGER) == record.version:
            self.client.delete_registered_model_alias(self.line.name, CHALLENGER)
        finish_record(self.client, record)

    def _put_into_service(self) -> None:
        """Let the aliases say what the last promotion or rollback says. Where another was begun at the same time
        elsewhere, a promotion replaced another version than it began with: its record is corrected."""
        records = self.records()
        serving = None
        for at, record in enumerate(records):
            if record.event == PROMOTED:
                if serving is not None and record.replaced != serving and not record.done:
                    records[at] = note_replaced(self.client, record, serving)
                serving = record.version
            elif record.event == ROLLED_BACK:
                serving = record.replaced
        last = _changes(records)[-1]
        previous = last.replaced if last.event == PROMOTED else _before(str(last.replaced), records)
        name, aliases = self.line.name, self.aliases()
        wanted = {PREVIOUS: previous, CHAMPION: last.version if last.event == PROMOTED else last.replaced}
        for alias, number in wanted.items():
            if number:
                self.client.set_registered_model_alias(name, alias, number)
            elif alias in aliases:
                self.client.delete_registered_model_alias(name, alias)

    def _do(
        self,
        event: str,
        number: str,
        replaced: str | None,
        by: str,
        why: str,
        *,
        round: str | None = None,
        verdict: str | None = None,
        files: Sequence[Path] = (),
    ) -> Record:
        if not by.strip() or not why.strip():
            raise InputError(f"{self.line.name}/{number}: expected who decides (--by) and why (--why), found nothing.")
        known = self.version(number).tags
        record = begin_record(
            self.client,
            self.params,
            line=self.line.name,
            event=event,
            version=number,
            replaced=replaced,
            by=by.strip(),
            why=why.strip(),
            round=round or known.get(ROUND),
            verdict=verdict or known.get("irp.verdict"),
            files=files,
        )
        self.carry_out(record)
        return self._settled(record)

    def _settled(self, record: Record) -> Record:
        """The record as it stands now that the aliases were changed.

        Raises:
            InputError: somebody changed what is in service at the same time on another machine, and that stands.
        """
        records = self.records()
        if record.event in (PROMOTED, ROLLED_BACK):
            last = _changes(records)[-1]
            if self.aliases().get(CHAMPION) != (last.version if last.event == PROMOTED else last.replaced):
                self._put_into_service()  # the other one was between its record and the aliases
            if last.mlflow_run != record.mlflow_run:
                other = f"{self.line.name}/{last.version} was {last.event} by {last.by} elsewhere, which stands"
                raise InputError(
                    f"{self.line.name}/{record.version}: was {record.event}, and at the same time {other}; "
                    f"see `irp audit line {self.line.name}`."
                )
        return next((now for now in records if now.mlflow_run == record.mlflow_run), record)


def _changes(records: Sequence[Record]) -> list[Record]:
    """The records that changed what is in service."""
    return [record for record in records if record.event in (PROMOTED, ROLLED_BACK)]


def _before(number: str, records: Sequence[Record]) -> str | None:
    """The version that was in service before a version was last promoted, and was not taken back itself."""
    taken_back = {record.version for record in records if record.event == ROLLED_BACK}
    replaced = [r.replaced for r in records if r.event == PROMOTED and r.version == number]
    before = replaced[-1] if replaced else None
    return None if before in taken_back else before
