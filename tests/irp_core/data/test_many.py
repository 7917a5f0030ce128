"""Sets of many images: some are looked at at a time, and no picture of them stays in memory."""

from __future__ import annotations

import errno
import io
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from irp_core.config import Images
from irp_core.data.look import look
from irp_core.data.scan import Scan, scan
from irp_core.data.seen.known_files import KnownFiles

IMAGES = 300
PICTURE = 64 * 64  # bytes that near-copies are found by


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = rng.integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number:03d}.png", compress_level=1)
    Image.open(root / "007.png").save(root / "again.bmp")
    (root / "100.png").write_bytes(b"no image")
    old = time.time() - 60
    for file in root.iterdir():
        os.utime(file, (old, old))
    return root


def tables(found: Scan) -> dict[str, str]:
    held = {name: value for name, value in vars(found).items() if isinstance(value, pd.DataFrame)}
    return {name: table.to_csv() for name, table in held.items()} | {"size": str(found.size)}


def test_no_picture_of_a_large_set_is_held_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("irp_core.data.scan._AT_ONCE", 16)
    scan(folder, copies_from=None)  # what is imported and remembered once
    tracemalloc.start()
    try:
        found = scan(folder, copies_from=None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.manifest) == IMAGES
    assert peak < IMAGES * PICTURE


def test_some_at_a_time_give_the_tables_of_all_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tables(scan(folder))
    assert "again.bmp" in whole["near_copies"]
    assert "007.png" in whole["near_copies"]
    monkeypatch.setattr("irp_core.data.scan._AT_ONCE", 7)
    assert tables(scan(folder)) == whole
    for _ in range(2):  # looked at, then recalled
        assert tables(scan(folder, known=KnownFiles(tmp_path / "store", Images()))) == whole


def test_what_changed_is_looked_at_and_the_rest_recalled(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "images"
    copy.mkdir()
    for file in sorted(folder.glob("0[0-3]*.png")):
        (copy / file.name).write_bytes(file.read_bytes())
        os.utime(copy / file.name, (1e9, 1e9))
    monkeypatch.setattr("irp_core.data.scan._AT_ONCE", 8)
    scan(copy, known=KnownFiles(tmp_path / "store", Images()))
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(copy / "011.png")
    os.utime(copy / "011.png", (1.1e9, 1.1e9))
    seen: list[str] = []

    def noted(path: Path, images: Images) -> object:
        seen.append(path.name)
        return look(path, images)

    monkeypatch.setattr("irp_core.data.scan.look", noted)
    found = tables(scan(copy, known=KnownFiles(tmp_path / "store", Images())))
    assert seen == ["011.png"]
    assert found == tables(scan(copy))


@pytest.mark.parametrize("at", ["write", "flush"])
def test_a_full_disk_names_the_folder_of_temporary_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    class Full(io.BytesIO):
        def write(self, content: object) -> int:
            return self.full() if at == "write" else 0

        def flush(self) -> None:
            self.full()

        def close(self) -> None:
            self.full()

        def full(self) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("irp_core.data.copies.thumbnails.tempfile.TemporaryFile", lambda prefix: Full())
    monkeypatch.setattr("irp_core.data.copies.thumbnails.tempfile.gettempdir", lambda: "full-disk")
    with pytest.raises(OSError, match="full-disk"):
        scan(folder)
