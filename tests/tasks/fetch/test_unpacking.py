"""An archive from elsewhere: bombs are stopped, damaged ones are one sentence."""

from __future__ import annotations

import bz2
import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

import tasks.fetch.unpacking as unpacking
from irp_core.errors import InputError
from tasks.fetch.unpacking import unpack

pytestmark = pytest.mark.trust


def _tar(path: Path, mode: str, size: int) -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        item = tarfile.TarInfo("a/plate.png")
        item.size = size
        archive.addfile(item, io.BytesIO(bytes(size)))


def _zip(path: Path, size: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/plate.png", bytes(size))


@pytest.mark.parametrize("name", ["x.zip", "x.tar.xz"])
def test_a_bomb_is_stopped_and_a_small_archive_is_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_FREE_BYTES", 100_000)
    for size, bomb in ((50_000, False), (5_000_000, True)):
        into = tmp_path / f"{size}"
        into.mkdir()
        archive = tmp_path / name
        _zip(archive, size) if name == "x.zip" else _tar(archive, "w:xz", size)
        if bomb:
            with pytest.raises(InputError, match="refused, it unpacks to more than"):
                unpack(archive, into)
            assert list(into.iterdir()) == []
        else:
            unpack(archive, into)
            assert (into / "a" / "plate.png").stat().st_size == size


def test_many_members_are_a_bomb_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_MEMBERS", 3)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}.png", b"")
    (tmp_path / "into").mkdir()
    with pytest.raises(InputError, match="or 3 files"):
        unpack(tmp_path / "x.zip", tmp_path / "into")


def test_whatever_is_damaged_is_one_sentence(tmp_path: Path) -> None:
    """A hundred flips and cuts at random places, of each kind of archive: unpacked as it was, or refused."""
    rng = random.Random(0)
    for name in ("x.zip", "x.tar.xz", "x.tar.gz", "x.tar.bz2"):
        archive = tmp_path / name
        _zip(archive, 3000) if name == "x.zip" else _tar(archive, f"w:{name.rpartition('.')[2]}", 3000)
        sound = archive.read_bytes()
        for number in range(25):
            content = bytearray(sound)
            if number % 5 == 0:
                del content[rng.randrange(len(content)) :]
            else:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            archive.write_bytes(bytes(content))
            into = tmp_path / f"{name}-{number}"
            into.mkdir()
            try:
                unpack(archive, into)
            except InputError as refused:
                assert str(archive) in str(refused)


def test_what_is_no_archive_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    for name, content in (("x.zip", b"text"), ("x.tar.xz", b""), ("x.tar.bz2", bz2.compress(b"text")[:-4])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="found a damaged one"):
            unpack(tmp_path / name, tmp_path / "into")
