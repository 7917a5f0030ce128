"""The rounds of a line: what each was begun with is fixed, so that one that was killed goes on as the same round.

`lines/NAME/rounds/0007/` holds the prepared set (`irp_core.run.prepared`), `round.json` (what the round was begun with,
and what came of each of its stages), and the comparison with the champion. The record has a digest of itself and of the
tables: nobody goes on from what was damaged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from irp_core.atomic import atomic_directory, read_json_object, write_json
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.line.folder import LineFolder
from irp_core.line.selection import Selection
from irp_core.run.files import MANIFEST
from irp_core.run.inputs import is_sealed, sealed_record
from irp_core.run.prepared import PreparedSet

__all__ = ["LineRound", "begin_round", "last_with", "open_round", "round_of", "rounds_of"]

_RECORD = "round.json"


@dataclass(frozen=True)
class LineRound:
    """One round, in its folder.

    Its record has `round`, `began` (seconds since the epoch), `reason`, `new` (image → held out), `images` (number),
    `params` and `tables` (their digests); then, as the stages end, `run` (its folder), `published`, `version`,
    `comparison` (digests of its files), `outcome`, `why` and, last, `ended`; and `set_aside`, where somebody did.
    """

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name)

    @property
    def prepared(self) -> PreparedSet:
        return PreparedSet(self.path)

    @property
    def checks(self) -> Path:
        """The comparison's table of checks."""
        return self.path / "comparison.parquet"

    @property
    def page(self) -> Path:
        """The comparison's page."""
        return self.path / "comparison.html"

    @property
    def log(self) -> Path:
        """What the stages did and said."""
        return self.path / "round.log"

    def record(self) -> dict[str, Any]:
        """What is on record.

        Raises:
            InputError: the record is not as it was written.
        """
        record = read_json_object(self.path / _RECORD, "round", "params")
        if not is_sealed(record):
            raise InputError(f"{self.path / _RECORD}: was changed since it was written.")
        return record

    def damage(self) -> str | None:
        """What of the round's beginning is not as it was written; None where all is."""
        try:
            noted = self.record().get("tables", {})  # irp up to 0.13 noted none
            found = _tables(self.prepared)
        except InputError as error:
            return str(error).rstrip(".")
        wrong = [name for name, sha256 in noted.items() if found.get(name) != sha256]
        return f"{self.path / wrong[0]}: is gone or was changed since the round began" if wrong else None

    def note(self, **values: Any) -> dict[str, Any]:
        """Add to the record; returns it."""
        record = sealed_record(self.record() | values)
        write_json(self.path / _RECORD, record)
        return record

    def note_comparison(self) -> None:
        """Add the digests of the comparison's files to the record."""
        self.note(comparison={file.name: file_sha256(file) for file in (self.checks, self.page)})

    def comparison(self) -> list[Path]:
        """The comparison's files that are there, and as they were written."""
        try:
            noted = self.record().get("comparison", {})
        except InputError:
            return []
        there = [file for file in (self.checks, self.page) if file.is_file()]
        return [file for file in there if file.name not in noted or file_sha256(file) == noted[file.name]]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to the record's `seconds`; a round that was killed adds to what it had."""
        started = time.perf_counter()
        yield
        self.add_time(stage, time.perf_counter() - started)

    def add_time(self, stage: str, seconds: float) -> None:
        before = self.record().get("seconds", {})
        self.note(seconds={**before, stage: round(before.get(stage, 0.0) + seconds, 3)})

    def end(self, outcome: str, why: str) -> dict[str, Any]:
        """Note how the round ended: nothing is left to do."""
        return self.note(outcome=outcome, why=why, ended=time.time())

    @property
    def ended(self) -> bool:
        return "ended" in self.record()


def rounds_of(folder: LineFolder) -> list[LineRound]:
    """All rounds of a line, the first first."""
    return [LineRound(file.parent) for file in sorted(folder.rounds.glob(f"[0-9]*/{_RECORD}"))]


def open_round(folder: LineFolder) -> LineRound | None:
    """The round that was begun and did not end, as far as its record tells: one that was damaged does not."""
    for this in rounds_of(folder)[-1:]:
        try:
            return None if this.ended else this
        except InputError:
            return this
    return None


def round_of(folder: LineFolder, number: int | str) -> LineRound:
    """The round of this number, whether or not it is there."""
    return LineRound(folder.rounds / f"{int(number):04d}")


def last_with(rounds: Iterable[LineRound], key: str) -> LineRound | None:
    """The last of the rounds (the first first) that has something on record; one that was damaged has not."""
    for this in reversed(list(rounds)):
        with suppress(InputError):
            if key in this.record():
                return this
    return None


def begin_round(
    folder: LineFolder, selection: Selection, params: Mapping[str, Any], reason: str, now: float
) -> LineRound:
    """Write down what a round begins with, whole or not at all.

    Raises:
        InputError: nothing is left to train on.
    """
    manifest = selection.manifest
    if not (manifest["split"] == "train").any():
        raise InputError(f"{folder.path}: expected images to train on, found none among {len(manifest)}.")
    rounds = rounds_of(folder)
    number = rounds[-1].number + 1 if rounds else 1
    path = round_of(folder, number).path
    with atomic_directory(path) as temporary:
        prepared = PreparedSet(temporary)
        prepared.write_left_out(selection.quarantine, _no_duplicates())
        prepared.write_notices(selection.ignored, selection.near_copies, selection.notes)
        prepared.write_manifest(manifest)
        record = {
            "round": number,
            "began": now,
            "reason": reason,
            "new": dict(sorted(selection.new.items())),
            "images": len(manifest),
            "params": dict(params),
            "tables": _tables(prepared),
        }
        write_json(temporary / _RECORD, sealed_record(record))
    return LineRound(path)


def _tables(prepared: PreparedSet) -> dict[str, str]:
    return {**prepared.table_digests(), MANIFEST: file_sha256(prepared.path / MANIFEST)}


def _no_duplicates() -> pd.DataFrame:
    """The ledger takes each content once."""
    return pd.DataFrame({"md5": [], "image_id": []}, dtype=object)
