"""The rounds of a line: what each was begun with is fixed, so that one that was killed goes on as the same round.

`lines/NAME/rounds/0007/` holds the prepared set (`irp_core.run.prepared`), `round.json` (what the round was begun with,
and what came of each of its stages), and the comparison with the champion.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from irp_core.atomic import atomic_directory, read_json_object, write_json
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.line.selection import Selection
from irp_core.run.prepared import PreparedSet

__all__ = ["LineRound", "begin_round", "open_round", "rounds_of"]

_RECORD = "round.json"


@dataclass(frozen=True)
class LineRound:
    """One round, in its folder.

    Its record has `round`, `began` (seconds since the epoch), `reason`, `new` (image → held out), `images` (number) and
    `params`; then, as the stages end, `run` (its folder), `published`, `version`, `outcome`, `why` and, last, `ended`.
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
        return read_json_object(self.path / _RECORD, "round", "params")

    def note(self, **values: Any) -> dict[str, Any]:
        """Add to the record; returns it."""
        record = self.record() | values
        write_json(self.path / _RECORD, record)
        return record

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
    """The round that was begun and did not end."""
    rounds = rounds_of(folder)
    return rounds[-1] if rounds and not rounds[-1].ended else None


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
    path = folder.rounds / f"{number:04d}"
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
        }
        write_json(temporary / _RECORD, record)
    return LineRound(path)


def _no_duplicates() -> pd.DataFrame:
    """The ledger takes each content once."""
    return pd.DataFrame({"md5": [], "image_id": []}, dtype=object)
