"""Write an index for tar shards that somebody else packed, where they lie: no byte of them is moved."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO

import pyarrow as pa

from irp_core.errors import InputError
from irp_core.packed.layout import INDEX_SCHEMA, SHARDS_SCHEMA, expect_images, expect_shard, is_packed
from irp_core.packed.packing import LeftOut, Packed, arrow_table, write_index
from irp_core.regular_file import shown

__all__ = ["adopt", "shards_in"]

_CHUNK = 1 << 20  # bytes
_Row = tuple[str, str, int, int, int]


def shards_in(folder: Path) -> list[Path]:
    """The tar files directly in a folder, in the order of their names."""
    return sorted(path for path in folder.glob("*.tar") if path.is_file() and not path.name.startswith("."))


def adopt(folder: Path, endings: Collection[str], *, progress: Callable[[int, int], None] | None = None) -> Packed:
    """Read every shard in a folder once and write the index beside them.

    Args:
        endings: of images (`.png` …); other members (labels, json) are left out.
        progress: called with (shards done, shards in all).

    Raises:
        InputError: no tar file; one that is damaged, compressed, or several behind each other; a member that is a link
            or a device, is called like something outside of the set or like another one.
    """
    if is_packed(folder):
        raise InputError(f"{folder}: holds a packed set already.")
    shards = shards_in(folder)
    if not shards:
        raise InputError(f"{folder}: expected tar files (shard-000000.tar …), found none.")
    rows: list[_Row] = []
    facts: list[tuple[int, str, str, int, int]] = []
    outside: list[LeftOut] = []
    for number, shard in enumerate(shards):
        expect_shard(shard.name, folder)
        before = len(rows)
        try:
            md5, size = _read_shard(shard, number, endings, rows, outside)
        except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{shard}: expected a whole tar file that is not compressed (images are read from their place in it), "
                f"found a damaged or another one ({error})."
            ) from None
        facts.append((number, shard.name, md5, size, len(rows) - before))
        if progress:
            progress(number + 1, len(shards))
    rows.sort()
    names = pa.array([row[0] for row in rows], pa.string())
    expect_images(names, folder)
    for one, other in pairwise(rows):
        if one[0] == other[0]:
            raise InputError(
                f"{folder}: expected each image once, found {one[0]!r} in {shards[one[2]].name} and "
                f"{shards[other[2]].name}."
            )
    write_index(folder, arrow_table(rows, INDEX_SCHEMA), arrow_table(facts, SHARDS_SCHEMA), sorted(outside))
    return Packed(folder, len(rows), len(shards), sum(row[4] for row in rows), len(outside))


class _Hashed:
    """A file that is read from front to back, and its md5."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.md5(usedforsecurity=False)
        self.bytes = 0

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._digest.update(content)
        self.bytes += len(content)
        return content

    def rest(self) -> str:
        """The md5 of the whole file."""
        while self.read(_CHUNK):
            pass
        return self._digest.hexdigest()


def _read_shard(
    shard: Path, number: int, endings: Collection[str], rows: list[_Row], outside: list[LeftOut]
) -> tuple[str, int]:
    """Add a shard's members to `rows` and `outside`; returns its md5 and its size in bytes."""
    with open(shard, "rb") as file:
        hashed = _Hashed(file)
        with tarfile.open(fileobj=hashed, mode="r|") as packed:  # type: ignore[call-overload]
            for member in packed:
                if member.isdir():
                    continue
                content = packed.extractfile(member) if member.isreg() and not member.issparse() else None
                if content is None:
                    raise InputError(f"{shard}: refused, its member {shown(member.name)!r} is a link or a device.")
                name = member.name.removeprefix("./")
                ending = PurePosixPath(name).suffix.lower()
                if shown(name) != name:
                    outside.append((shown(name), 1, "its name is not UTF-8", True))
                elif ending not in endings:
                    outside.append((name, 1, f"no image ({ending or 'no ending'})", False))
                else:
                    digest = hashlib.md5(usedforsecurity=False)
                    while chunk := content.read(_CHUNK):
                        digest.update(chunk)
                    rows.append((name, digest.hexdigest(), number, member.offset_data, member.size))
        md5 = hashed.rest()
        _expect_end(file, packed.offset)
        return md5, hashed.bytes


def _expect_end(file: IO[bytes], offset: int) -> None:
    """Refuse a shard in which anything but zeros follows its last member: tarfile ends without a word at a damaged
    header, at a missing end, and at the first end of several archives in one file, and the members behind are lost."""
    file.seek(offset)
    if len(chunk := file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it has no end of archive behind its last member, at byte {offset:,}")
    while chunk:
        if chunk.strip(b"\0"):
            raise tarfile.ReadError(f"tar reads no further than byte {offset:,}, and more follows")
        chunk = file.read(_CHUNK)
