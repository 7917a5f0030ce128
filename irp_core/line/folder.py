"""What a line keeps in a project, `lines/NAME/`: one place that knows the names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from irp_core.data.own_output import MARKER

__all__ = ["LineFolder"]

_FOLDER = "lines"


@dataclass(frozen=True)
class LineFolder:
    """The folder of one line; paths are relative to the project's folder, so that a project may be moved."""

    name: str

    @property
    def path(self) -> Path:
        return Path(_FOLDER) / self.name

    @property
    def images(self) -> Path:
        """The images that were taken in: a folder per day, below it the inbox' own names."""
        return self.path / "images"

    @property
    def incoming(self) -> Path:
        """Files that are being fetched; what is left here by a kill belongs to nobody."""
        return self.path / "incoming"

    @property
    def damaged(self) -> Path:
        """Images that were changed by damage and could not be had again."""
        return self.path / "damaged"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def rounds(self) -> Path:
        return self.path / "rounds"

    @property
    def monitoring(self) -> Path:
        """What was seen of the detectors in service: a folder per time that one was put into service."""
        return self.path / "monitoring"

    @property
    def kept(self) -> Path:
        """Alarms and images near the threshold that the line's service keeps for people's answers."""
        return self.path / "kept"

    @property
    def golden_record(self) -> Path:
        """Which kept images were taken into the golden set, by whom and why."""
        return self.path / "golden.csv"

    @property
    def remote(self) -> Path:
        """Where the training sets go if nothing else is named; of all lines, so that they share their images."""
        return Path(_FOLDER) / "remote"

    @property
    def round_lock(self) -> Path:
        """Held while a round of the line is at work."""
        return self.path / ".round.lock"

    @property
    def inbox_lock(self) -> Path:
        """Held while the inbox is polled: that goes on while a round trains."""
        return self.path / ".inbox.lock"

    @property
    def registry_lock(self) -> Path:
        """Held while the line's aliases are changed."""
        return self.path / ".registry.lock"

    def make(self) -> LineFolder:
        """See to it that the folder is there, out of git's sight, and taken for a data set by nobody."""
        self.images.mkdir(parents=True, exist_ok=True)
        for file, text in ((self.path.parent / ".gitignore", "*\n"), (self.path / MARKER, "")):
            if not file.exists():
                file.write_text(text, encoding="utf-8")
        return self
