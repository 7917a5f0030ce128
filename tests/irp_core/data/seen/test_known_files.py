"""The second scan of a folder reads what changed, and finds what the first one did."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irp_core.config import Images
from irp_core.data import scan as scan_module
from irp_core.data.look import Facts, Unreadable, look
from irp_core.data.scan import Scan, scan
from irp_core.data.seen.known_files import KnownFiles

AN_HOUR_AGO = 3600


def write(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path)
    settle(path)


def settle(path: Path) -> None:
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns - AN_HOUR_AGO * 10**9))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    for number in range(6):
        write(root / f"{number}.png", number % 5)  # two of equal bytes
    (root / "broken.png").write_bytes(b"no image")
    settle(root / "broken.png")
    Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50)).save(root / "deep.png")
    settle(root / "deep.png")
    return root


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def noted(path: Path, images: Images) -> Facts | Unreadable:
        seen.append(path.name)
        return look(path, images)

    monkeypatch.setattr(scan_module, "look", noted)
    return seen


def scanned(folder: Path, images: Images | None = None) -> Scan:
    settings = images or Images()
    return scan(folder, images=settings, known=KnownFiles(folder.parent / "store", settings))


def same(first: Scan, second: Scan) -> bool:
    tables = ("manifest", "quarantine", "duplicates", "ignored", "near_copies", "notes")
    return all(getattr(first, name).equals(getattr(second, name)) for name in tables)


def test_the_second_scan_reads_nothing_and_finds_the_same(folder: Path, looked: list[str]) -> None:
    without = scan(folder)
    looked.clear()
    first = scanned(folder)
    assert len(looked) == 8
    looked.clear()
    again = scanned(folder)
    assert looked == ["broken.png"]  # what cannot be read is read again
    assert same(without, first)
    assert same(first, again)


def test_a_changed_file_is_noticed(folder: Path, looked: list[str]) -> None:
    before = scanned(folder).manifest.set_index("image_id")["md5"]
    state = (folder / "1.png").stat()
    write(folder / "2.png", 77)  # the same size or not, the time tells
    replaced = folder.parent / "replaced.png"
    write(replaced, 78)
    os.utime(replaced, ns=(state.st_atime_ns, state.st_mtime_ns))
    replaced.rename(folder / "1.png")  # the old time, another inode
    looked.clear()
    after = scanned(folder).manifest.set_index("image_id")["md5"]
    assert set(looked) == {"1.png", "2.png", "broken.png"}
    assert set(before.index[before != after]) == {"1.png", "2.png"}


def test_what_was_just_written_is_not_remembered(folder: Path, looked: list[str]) -> None:
    Image.new("RGB", (40, 50), "red").save(folder / "new.png")
    scanned(folder)
    looked.clear()
    scanned(folder)
    assert "new.png" in looked


def test_other_settings_look_again(folder: Path, looked: list[str]) -> None:
    scanned(folder)
    looked.clear()
    scanned(folder, Images(range=(0, 4095)))
    assert len(looked) == 8


def test_a_damaged_record_is_made_again(folder: Path, looked: list[str]) -> None:
    first = scanned(folder)
    (segment,) = (folder.parent / "store").glob("*/*.arrow")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(bytes(content))
    looked.clear()
    assert same(first, scanned(folder))
    assert len(looked) == 8
