"""The steps of a run: every step's result is a folder that appears whole or not at all.

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

from irp_core.atomic import atomic_directory, read_json, write_json
from irp_core.run.files import FINISHED, STEP, TIMINGS

__all__ = ["Steps"]


@dataclass(frozen=True)
class Steps:
    """The step folders of the run in `path`, whether it is finished, and where its time went."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    def step(self, name: str, iteration: int | None = None) -> Path:
        """Folder of a step's result; steps without an iteration belong to the whole run."""
        return self.path / name if iteration is None else self.path / "iterations" / f"{iteration:02d}" / name

    def key(self, name: str, iteration: int | None = None) -> str | None:
        """Key of the inputs that a finished step was made from; None while it is not finished."""
        file = self.step(name, iteration) / STEP
        return str(read_json(file)["key"]) if file.is_file() else None

    def do(self, name: str, iteration: int | None, key: str, make: Callable[[Path], None]) -> Path:
        """Run `make(folder)` unless the step was finished with the same key; return the step's folder."""
        folder = self.step(name, iteration)
        if self.key(name, iteration) != key:
            with atomic_directory(folder) as temporary:
                make(temporary)
                write_json(temporary / STEP, {"key": key})
        return folder

    def forget(self, name: str, iteration: int | None = None) -> None:
        """Let the step be made anew the next time it is asked for."""
        (self.step(name, iteration) / STEP).unlink(missing_ok=True)

    def take_over(self, other: Steps, name: str, iteration: int, folder: Path) -> None:
        """Copy the result of another run's step into `folder`."""
        for file in other.step(name, iteration).iterdir():
            (folder / file.name).write_bytes(file.read_bytes())

    def finish(self) -> None:
        """Note that nothing is left to do, tracking included."""
        write_json(self.path / FINISHED, {"at": time.time()})

    def finished(self) -> bool:
        return (self.path / FINISHED).is_file()

    def drop_weights(self) -> None:
        """Delete the trained models of a finished run, each with its key: a sweep keeps tables only."""
        for folder in self.path.glob("iterations/*/train"):
            shutil.rmtree(folder)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to the run's timings under `stage` (a resumed run adds its own lines)."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add_time(stage, time.perf_counter() - started)

    def add_time(self, stage: str, seconds: float) -> None:
        with open(self.path / TIMINGS, "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "seconds": round(seconds, 4), "at": time.time()}) + "\n")

    def timings(self, since: float = 0.0) -> dict[str, float]:
        """Seconds by stage, of all sessions that worked on the run or of those since a time (`time.time()`)."""
        totals: dict[str, float] = {}
        file = self.path / TIMINGS
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the line that a kill cut short
                continue
            if entry["at"] >= since:
                totals[entry["stage"]] = totals.get(entry["stage"], 0.0) + entry["seconds"]
        return totals
