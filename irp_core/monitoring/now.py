"""How the last look at a line's detector ended, in one small file, for whoever asks every few seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from irp_core.atomic import read_json_object, write_json

__all__ = ["Now", "read_now", "write_now"]

_FILE = "now.json"


@dataclass(frozen=True)
class Now:
    """The last window.

    Attributes:
        version: of the line's model.
        at: seconds since the epoch.
        windows: that were tested since it came into service; with none, the following say nothing.
        alarm: whether the last one alarmed.
        ks, alarm_share: as in `irp_core.monitoring.drift`.
    """

    version: str
    at: float
    windows: int
    alarm: bool = False
    ks: float = 0.0
    alarm_share: float = 0.0


def write_now(folder: Path, now: Now) -> None:
    """Replace what the folder said.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     write_now(Path(name), Now("7", 0.0, 2, alarm=True))
        ...     read_now(Path(name)).alarm
        True
    """
    write_json(folder / _FILE, asdict(now))


def read_now(folder: Path) -> Now | None:
    """What the folder says; None: nobody looked yet.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / _FILE
    return Now(**read_json_object(file, *asdict(Now("", 0.0, 0)))) if file.exists() else None
