"""Which cell of how many is at work, and about how long the rest takes: from the durations of the cells before."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.paper.places import cell
from irp_core.config import Params, digest

__all__ = ["LOG", "Clock", "duration"]

LOG = Path(".irp/sweep.jsonl")


@dataclass(frozen=True)
class Clock:
    """Durations of finished cells, read once when a cell begins.

    Args:
        params: the sweep's; cells of other settings count only as a first guess.
        images: training images by entity, for entities of which no cell has been timed.
        code: digest of the code: a cell that other code finished is not finished.
        log: one JSON line per finished cell.
    """

    params: Params
    images: dict[str, int]
    code: str = ""
    log: Path = LOG

    @property
    def settings(self) -> str:
        """Digest of all that a cell's duration and result depend on."""
        sections = self.params.model_dump(mode="json", exclude={"tracking", "snapshots", "figures", "run", "sweep"})
        sweep = self.params.sweep
        return digest(sections, list(sweep.seeds), list(sweep.methods), sweep.epochs, self.code)[:16]

    def cells(self) -> list[tuple[str, int]]:
        """All cells of the sweep."""
        return [(entity, level) for entity in self.params.sweep.entities for level in self.params.sweep.levels]

    def finished(self) -> set[tuple[str, int]]:
        """Cells that were finished with these settings and whose result is still there."""
        own = {(e["entity"], e["level"]) for e in self._entries() if e["settings"] == self.settings}
        return {key for key in own & set(self.cells()) if cell(*key).is_dir()}

    def estimate(self, entity: str) -> float | None:
        """Seconds that one cell of `entity` takes; None before the first was timed."""
        entries = self._entries()
        own = [e for e in entries if e["settings"] == self.settings] or entries
        same = [e["seconds"] for e in own if e["entity"] == entity]
        if same:
            return sum(same) / len(same)
        if not own or entity not in self.images:
            return None
        return self.images[entity] * sum(e["seconds"] for e in own) / sum(e["images"] for e in own)

    def left(self, current: tuple[str, int], *, elapsed: float = 0.0, done: float = 0.0) -> float | None:
        """Seconds until the last cell is finished.

        Args:
            current: the cell at work.
            elapsed: seconds spent on it.
            done: the share of it that is done, in [0, 1]; from a third on it is the better guide.
        """
        others = set(self.cells()) - self.finished() - {current}
        own = elapsed / done if done >= 1 / 3 else self.estimate(current[0])
        if own is None:
            return None
        scale = own / self.images[current[0]]
        total = max(0.0, own - elapsed)
        for entity, _ in others:
            total += self.estimate(entity) or scale * self.images.get(entity, self.images[current[0]])
        return total

    def record(self, entity: str, level: int, seconds: float) -> None:
        """Note a finished cell."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        entry = {
            "entity": entity,
            "level": level,
            "images": self.images[entity],
            "seconds": round(seconds, 1),
            "settings": self.settings,
            "at": round(time.time()),
        }
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def total(self) -> float:
        """Seconds that the finished cells of these settings took, the latest run of each."""
        latest = {(e["entity"], e["level"]): e["seconds"] for e in self._entries() if e["settings"] == self.settings}
        return sum(latest[key] for key in self.finished())

    def _entries(self) -> list[dict[str, Any]]:
        entries = []
        for line in self.log.read_text(encoding="utf-8").splitlines() if self.log.is_file() else []:
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:  # the line that a kill cut short
                continue
        return entries


def duration(seconds: float | None) -> str:
    """A duration as people say it."""
    if seconds is None:
        return "time left not known yet"
    if seconds < 1:
        return "nothing left to refine"
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s left"
    minutes = seconds / 60
    return f"about {minutes:.0f} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"
