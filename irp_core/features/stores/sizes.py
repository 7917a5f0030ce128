"""How much each extractor's rows take, and getting rid of them."""

from __future__ import annotations

import shutil
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
        facts = [file.stat() for file in spec.parent.rglob("*") if file.is_file()]
        last = max(fact.st_mtime for fact in facts)
        found.append(StoreSize(spec.parent.name, sum(fact.st_size for fact in facts), last))
    return found


def drop_store(root: Path, fingerprint: str) -> None:
    """Delete an extractor's rows: they are extracted again when they are needed."""
    if (root / fingerprint / "spec.json").is_file():
        shutil.rmtree(root / fingerprint)
