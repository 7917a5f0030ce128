"""The run directory: every step's result is a folder that appears whole or not at all.

`runs/<run_id>/iterations/<k>/<step>/` holds a step's files and `step.json` with the key of its inputs. A
step whose folder is there with the same key is skipped, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from irp_core.atomic import atomic_directory, read_json, write_json
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.manifest import read_manifest, read_table
from irp_core.params_file import checked_params
from irp_core.reviews import REVIEW_SCHEMA, no_events

__all__ = ["RunDirectory", "list_runs", "open_run"]


@dataclass(frozen=True)
class RunDirectory:
    """Paths and small records of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    def record(self) -> dict[str, Any]:
        """`run.json`: what was asked for; all that a result depends on is fixed when the run begins."""
        record: dict[str, Any] = read_json(self.path / "run.json")
        return record

    def params(self) -> Params:
        return checked_params(self.record()["params"], str(self.path / "run.json"))

    def manifest(self) -> pd.DataFrame:
        return read_manifest(self.path / "manifest.parquet")

    def decisions(self) -> pd.DataFrame:
        """Reviewers' decisions about this run's images that stood when the run began."""
        file = self.path / "decisions.parquet"
        return read_table(file, REVIEW_SCHEMA) if file.exists() else no_events()

    def reviews(self) -> pd.DataFrame:
        """Review events about this run, made after it."""
        file = self.path / "review.parquet"
        return read_table(file, REVIEW_SCHEMA) if file.exists() else no_events()

    def data_root(self) -> Path:
        return Path(self.record()["data_root"])

    def workspace(self) -> Path:
        """Where the run was made, and what its relative paths (store, decisions, DVC's cache) start from.

        It is where `run.directory` leads to the run from; the current directory where that cannot be told.
        """
        place = self.path.absolute().parent
        for part in reversed(Path(self.params().run.directory).parts):
            if place.name != part:  # absolute, above, or the run was moved
                return Path.cwd()
            place = place.parent
        return place

    def step(self, name: str, iteration: int | None = None) -> Path:
        """Folder of a step's result; steps without an iteration belong to the whole run."""
        return self.path / name if iteration is None else self.path / "iterations" / f"{iteration:02d}" / name

    def key(self, name: str, iteration: int | None = None) -> str | None:
        """Key of the inputs that a finished step was made from; None while it is not finished."""
        file = self.step(name, iteration) / "step.json"
        return str(read_json(file)["key"]) if file.is_file() else None

    def do(self, name: str, iteration: int | None, key: str, make: Callable[[Path], None]) -> Path:
        """Run `make(folder)` unless the step was finished with the same key; return the step's folder."""
        folder = self.step(name, iteration)
        if self.key(name, iteration) != key:
            with atomic_directory(folder) as temporary:
                make(temporary)
                write_json(temporary / "step.json", {"key": key})
        return folder

    def forget(self, name: str, iteration: int | None = None) -> None:
        """Let the step be made anew the next time it is asked for."""
        (self.step(name, iteration) / "step.json").unlink(missing_ok=True)

    def finish(self) -> None:
        """Note that nothing is left to do, tracking included."""
        write_json(self.path / "finished.json", {"at": time.time()})

    def finished(self) -> bool:
        return (self.path / "finished.json").is_file()

    def drop_weights(self) -> None:
        """Delete the trained models of a finished run, each with its key: a sweep keeps tables only."""
        for folder in self.path.glob("iterations/*/train"):
            shutil.rmtree(folder)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to `timings.jsonl` under `stage` (a resumed run adds its own lines)."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add_time(stage, time.perf_counter() - started)

    def add_time(self, stage: str, seconds: float) -> None:
        with open(self.path / "timings.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "seconds": round(seconds, 4), "at": time.time()}) + "\n")

    def timings(self, since: float = 0.0) -> dict[str, float]:
        """Seconds by stage, of all sessions that worked on the run or of those since a time (`time.time()`)."""
        totals: dict[str, float] = {}
        file = self.path / "timings.jsonl"
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the line that a kill cut short
                continue
            if entry["at"] >= since:
                totals[entry["stage"]] = totals.get(entry["stage"], 0.0) + entry["seconds"]
        return totals


def open_run(path: Path) -> RunDirectory:
    """The run in `path`.

    Raises:
        InputError: no run there.
    """
    if not (path / "run.json").is_file():
        raise InputError(f"{path}: expected the directory of a run (with run.json), found none; see `irp runs`.")
    return RunDirectory(path)


def list_runs(directory: Path) -> list[RunDirectory]:
    """All runs below `directory`, newest first."""
    found = [RunDirectory(file.parent) for file in directory.glob("*/run.json")]
    return sorted(found, key=lambda run: (run.record()["created"], run.run_id), reverse=True)
