"""How much each extractor's rows take, and getting rid of them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["StoreSize", "drop_store", "store_sizes"]


@dataclass(frozen=True)
class StoreSize:
    """Bytes of an extractor's rows, and when the last ones were written (seconds since the epoch)."""

    fingerprint: str
    bytes: int
    since: float


def store_sizes(root: Path) -> list[StoreSize]:
    """How much each extractor's rows below `root` take, by fingerprint."""
    found = []
    for spec in sorted(root.glob("*/spec.json")):
        size, last = 0, 0.0
        for place, _, names in os.walk(spec.parent):
            for name in names:
                with suppress(OSError):  # gone meanwhile: a run writes there
                    facts = Path(place, name).stat()
                    size, last = size + facts.st_size, max(last, facts.st_mtime)
        found.append(StoreSize(spec.parent.name, size, last))
    return found


def drop_store(root: Path, fingerprint: str) -> None:
    """Delete an extractor's rows: they are extracted again when they are needed."""
    if (root / fingerprint / "spec.json").is_file():
        shutil.rmtree(root / fingerprint)
