"""A snapshot's cost is that of its list, not of its images."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from tasks.versions.snapshots import add_to_cache, locked_repository, write_snapshot

__all__ = ["BENCHMARKS"]

ROWS, FILES, TIMES = 100_000, 1000, 3


def snapshot() -> list[tuple[str, str]]:
    """Write the snapshot of a 100,000-row manifest (made-up rows over 1,000 cached files), and `dvc add` for scale."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        subprocess.run(["git", "init", "-q", "."], check=True)
        subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
        raw = Path("raw")
        raw.mkdir()
        md5s = []
        for i in range(FILES):
            content = f"image {i}".encode() * 100
            (raw / f"{i}.png").write_bytes(content)
            md5s.append(hashlib.md5(content, usedforsecurity=False).hexdigest())
        files = pd.DataFrame({"image_id": [f"{i}.png" for i in range(FILES)], "md5": md5s})
        rows = pd.DataFrame(
            {
                "image_id": [f"line{i % 7}/{i:06d}.png" for i in range(ROWS)],
                "md5": [md5s[i % FILES] for i in range(ROWS)],
            }
        )
        with locked_repository() as repo:
            add_to_cache(repo, files, raw, hardlink=True)
            times = []
            for k in range(TIMES):
                started = time.perf_counter()
                write_snapshot(repo, rows.iloc[k:], Path("snapshots") / f"iteration-{k:02d}")
                times.append(time.perf_counter() - started)
    return [(f"snapshot of {ROWS:,} rows, best of {TIMES}", f"{min(times):.2f} s")]


BENCHMARKS = {"snapshot": snapshot}
