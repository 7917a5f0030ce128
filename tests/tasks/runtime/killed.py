"""What a worker of a cluster computes until it is killed; a module that is imported in no time."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KilledOnce"]


@dataclass(frozen=True)
class KilledOnce:
    """Squares, and by which process; the first one that is at number `at` is killed, and leaves its id in `folder`."""

    folder: str
    at: int

    def __call__(self, number: int) -> tuple[int, int]:
        if number == self.at and not any(Path(self.folder).iterdir()):
            (Path(self.folder) / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2, os.getpid()
