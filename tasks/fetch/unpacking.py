"""Unpack an archive that somebody else packed: nothing outside the folder, no more than it can honestly hold."""

from __future__ import annotations

import errno
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from irp_core.errors import InputError
from irp_core.regular_file import leads_outside
from tasks.runtime.progress import bar

__all__ = ["unpack"]

_RATIO, _FREE_BYTES, _MEMBERS = 10, 100_000_000, 1_000_000  # images hardly compress

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS}


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into an existing, empty folder.

    Raises:
        InputError: truncated or no archive, a member that would land outside `folder` or is no file, or a bomb: more
            than ten times the archive's size (and a tenth of a gigabyte), or more than a million members.
    """
    with _explained(archive), bar(f"Unpacking {archive.name}") as advance:
        size = archive.stat().st_size
        bound = _Bound(archive, _RATIO * size + _FREE_BYTES)
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as packed:
                members = packed.infolist()
                for member in members:  # zipfile reads no more of a member than is declared
                    bound.add(member.file_size)
                for done, member in enumerate(members, start=1):
                    _expect_inside(archive, member.filename)  # zipfile would quietly put it elsewhere
                    packed.extract(member, folder)
                    advance(done, len(members))
            return
        with open(archive, "rb") as stream, tarfile.open(fileobj=stream) as packed_tar:
            for item in packed_tar:
                bound.add(item.size)
                _extract(archive, packed_tar, item, folder)
                advance(stream.tell() // 1_000_000, size // 1_000_000, note="MB")


def _expect_inside(archive: Path, member: str) -> PurePosixPath:
    name = PurePosixPath(member.replace("\\", "/"))
    if leads_outside(str(name)):
        raise InputError(f"{archive}: refused, its member {member!r} lies outside.")
    return name


def _extract(archive: Path, packed: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Files and folders alone, written as any new file is: tarfile's own filters are younger than some Python 3.11."""
    place = folder / _expect_inside(archive, member.name)
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    content = packed.extractfile(member) if member.isfile() else None
    if content is None:
        raise InputError(f"{archive}: refused, its member {member.name!r} is a link or a device, not a file.")
    place.parent.mkdir(parents=True, exist_ok=True)
    with content, open(place, "wb") as target:
        shutil.copyfileobj(content, target)


class _Bound:
    def __init__(self, archive: Path, most: int) -> None:
        self._archive, self._most = archive, most
        self._bytes = self._members = 0

    def add(self, size: int) -> None:
        self._bytes += max(0, size)
        self._members += 1
        if self._bytes > self._most or self._members > _MEMBERS:
            raise InputError(
                f"{self._archive}: refused, it unpacks to more than {self._most:,} bytes or {_MEMBERS:,} files."
            )


@contextmanager
def _explained(archive: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (
        tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, struct.error, EOFError, OSError, RuntimeError,
        ValueError, OverflowError,
    ) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno in _DISK:  # not the archive's fault
            raise
        raise InputError(
            f"{archive}: expected a whole zip or tar archive, found a damaged one ({error}); delete it and run the "
            "same command again."
        ) from None
