"""The steps of a run: every step's result is a folder that appears whole or not at all.

`runs/<run_id>/iterations/<k>/<step>/` holds a step's files and `step.json` with the key of its inputs and the sha256 of
every output. A step whose folder is there with the same key and the same outputs is skipped, so a run that was killed
goes on where it was; one whose outputs were changed since is made again, and the log says so.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from irp_core.atomic import atomic_directory, read_json, write_json
from irp_core.errors import InputError
from irp_core.hashing import altered_files, file_sha256
from irp_core.run.files import FINISHED, LASTING, STEP, TIMINGS

__all__ = ["Steps"]

_LOG = logging.getLogger(__name__)
_REPEATED = "repeated"  # a line of the timings


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
        key = _note(self.step(name, iteration) / STEP).get("key")
        return None if key is None else str(key)

    def damage(self, name: str, iteration: int | None = None) -> str | None:
        """What of a finished step's outputs is not as it was written; None where all is (steps of irp up to 0.7 noted
        no digests)."""
        return self.damage_in(self.step(name, iteration))

    @staticmethod
    def damage_in(folder: Path) -> str | None:
        """The same of a step's folder."""
        return _damage(folder, _note(folder / STEP).get("outputs", {}))

    def do(self, name: str, iteration: int | None, key: str, make: Callable[[Path], None]) -> Path:
        """Run `make(folder)` unless the step was finished with the same key and its outputs are as it left them;
        return the step's folder."""
        folder = self.step(name, iteration)
        known = self.key(name, iteration)
        if known == key and (damage := self.damage(name, iteration)):
            _LOG.warning("%s; the step is made again.", damage)
            known = None
        elif known is None and (folder / STEP).exists():
            _LOG.warning("%s: is not readable; the step is made again.", folder / STEP)
        if known == key:
            _LOG.info("%s: was made before", folder)
            return folder
        started = time.perf_counter()
        with atomic_directory(folder) as temporary:
            make(temporary)
            write_json(temporary / STEP, {"key": key, "outputs": _digests(temporary)})
        _LOG.info("%s: made in %.2f s", folder, time.perf_counter() - started)
        return folder

    def forget(self, name: str, iteration: int | None = None) -> None:
        """Let the step be made anew the next time it is asked for."""
        (self.step(name, iteration) / STEP).unlink(missing_ok=True)

    def take_over(self, other: Steps, name: str, iteration: int, folder: Path) -> None:
        """Copy the result of another run's step into `folder`."""
        for file in other.step(name, iteration).iterdir():
            (folder / file.name).write_bytes(file.read_bytes())

    def finish(self) -> None:
        """Note that nothing is left to do, tracking included, and the digests of the results that no review changes."""
        there = [self.path / name for name in LASTING if (self.path / name).is_file()]
        write_json(self.path / FINISHED, {"at": time.time(), "outputs": {f.name: file_sha256(f) for f in there}})

    def finished(self) -> bool:
        """Whether nothing is left to do; a run whose results were changed since has to make them again."""
        file = self.path / FINISHED
        if not file.is_file():
            return False
        note = _note(file)
        damage = _damage(self.path, note.get("outputs", {})) if note else f"{file}: is not readable"
        if damage:
            _LOG.warning("%s; the results are made again.", damage)
        return damage is None

    def damage_of_results(self, *names: str) -> str | None:
        """What of these results is not as the finished run left it; None where all is, or none was noted."""
        noted = _note(self.path / FINISHED).get("outputs", {})
        return _damage(self.path, {name: noted[name] for name in names if name in noted})

    def drop_weights(self) -> None:
        """Delete the trained models of a finished run, each with its key: a sweep keeps tables only."""
        for step in ("train", "scorers"):
            for folder in self.path.glob(f"iterations/*/{step}"):
                shutil.rmtree(folder)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to the run's timings under `stage` (a resumed run adds its own lines)."""
        started, before = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.add_time(stage, time.perf_counter() - started, time.process_time() - before)

    def add_time(self, stage: str, seconds: float, processor: float = 0.0) -> None:
        """Note seconds, by the clock and of this process's processor time."""
        spent = {"seconds": round(seconds, 4), "processor": round(processor, 4)}
        with open(self.path / TIMINGS, "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, **spent, "at": time.time()}) + "\n")

    def note_repeat(self) -> None:
        """Note that the same is asked for again of a finished run: what follows was not spent on making it."""
        if (self.path / FINISHED).is_file():
            self.add_time(_REPEATED, 0.0)

    def timings(self, since: float | None = None, of: Literal["seconds", "processor"] = "seconds") -> dict[str, float]:
        """Seconds by stage: of all sessions until the run was finished, or of those since a time (`time.time()`).

        `processor` are seconds of processor time, which do not depend on what else the machine does; 0 where an earlier
        version noted none.
        """
        totals: dict[str, float] = {}
        file = self.path / TIMINGS
        for line in file.read_bytes().splitlines() if file.is_file() else []:
            try:
                entry = json.loads(line)
                stage, seconds, at = str(entry["stage"]), float(entry.get(of, 0.0)), float(entry["at"])
            except (ValueError, KeyError, TypeError):  # the line that a kill cut short
                continue
            if stage == _REPEATED:
                if since is None:
                    break
            elif since is None or at >= since:
                totals[stage] = totals.get(stage, 0.0) + seconds
        return totals


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}


def _damage(folder: Path, outputs: dict[str, str]) -> str | None:
    for name, what in altered_files(folder, outputs):
        return f"{folder / name}: {what}" + " since it was written" * (what != "is gone")
    return None


def _note(file: Path) -> dict[str, Any]:
    """A step's note; empty where there is none, or none that can be read: then the step has to be made again."""
    try:
        found = read_json(file) if file.is_file() else {}
    except InputError:
        return {}
    whole = isinstance(found, dict) and isinstance(found.get("outputs", {}), dict)
    return found if whole else {}
