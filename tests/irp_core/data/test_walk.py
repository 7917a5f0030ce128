"""Folders and files that cannot be read, that vanish or change: named, one sentence, never a traceback."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from irp_core.config import Params
from irp_core.data import scan as scanning
from irp_core.data.scan import scan
from irp_core.data.walk import walk
from irp_core.errors import InputError
from irp_core.features.extraction import _load
from irp_core.hashing import file_md5
from irp_core.regular_file import read_regular
from tests.irp_core.data.brought import pictures

NOBODY = 65534


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything: the permissions count for somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.parametrize("locked", ["good", "good/a", "good/a/b"])
def test_a_folder_without_permission_is_named_at_any_depth(open_folder: Path, locked: str) -> None:
    pictures(open_folder, "crack/1.png", "good/a/b/2.png", "ok/3.png")
    (open_folder / locked).chmod(0)
    try:
        with without_privileges():
            found = scan(open_folder)
    finally:
        (open_folder / locked).chmod(0o755)
    assert dict(found.quarantine.itertuples(index=False)) == {f"{locked}/": "cannot be read: Permission denied"}
    assert found.manifest["image_id"].tolist() == ["crack/1.png", "ok/3.png"]


def test_a_file_without_permission_is_quarantined(open_folder: Path) -> None:
    pictures(open_folder, "1.png", "2.png")
    (open_folder / "2.png").chmod(0)
    with without_privileges():
        found = scan(open_folder)
    assert dict(found.quarantine.itertuples(index=False)) == {"2.png": "cannot be read: Permission denied"}


def test_a_root_without_permission_is_one_sentence(open_folder: Path) -> None:
    pictures(open_folder, "in/set/1.png")
    for locked in ("in", "in/set"):
        (open_folder / locked).chmod(0)
        try:
            with without_privileges(), pytest.raises(InputError, match=r"set: cannot be read \(Permission denied\)"):
                walk(open_folder / "in" / "set")
        finally:
            (open_folder / locked).chmod(0o755)


def test_a_file_that_vanishes_during_the_scan_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, "1.png", "2.png")

    def walk_and_lose(root: Path) -> object:
        tree = walk(root)
        (root / "2.png").unlink()
        return tree

    monkeypatch.setattr(scanning, "walk", walk_and_lose)
    found = scan(tmp_path)
    assert dict(found.quarantine.itertuples(index=False)) == {"2.png": "cannot be read: No such file or directory"}


def test_a_file_that_vanishes_or_changes_during_the_run_is_one_sentence(tmp_path: Path) -> None:
    pictures(tmp_path, "1.png", "2.png")
    md5, images = file_md5(tmp_path / "1.png"), Params().images
    (tmp_path / "1.png").write_bytes((tmp_path / "2.png").read_bytes())
    with pytest.raises(InputError, match=r"1.png: its content changed since the manifest was made"):
        _load(tmp_path / "1.png", md5, images)
    (tmp_path / "1.png").unlink()
    with pytest.raises(InputError, match=r"1.png: cannot be read: No such file .* readable when the manifest was made"):
        _load(tmp_path / "1.png", md5, images)
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(InputError, match=r"1.png: no regular file"):
        _load(tmp_path / "1.png", md5, images)


def test_a_root_in_latin_1_is_refused(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(root)  # noqa: PTH102
    with pytest.raises(InputError, match=r"caf\\xe9: its name is not UTF-8"):
        walk(Path(os.fsdecode(root)))


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_regular(tmp_path / "x", 5) == b"12345"
    with pytest.raises(InputError, match=r"more than 4 bytes \(images.max_bytes\)"):
        read_regular(tmp_path / "x", 4)
    with pytest.raises(InputError, match="no regular file"):
        read_regular(Path("/dev/zero"), 5)
    assert read_regular(tmp_path / "x", 2**60) == b"12345"  # a bound is no amount of memory
