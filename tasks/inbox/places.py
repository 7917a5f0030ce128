"""Where an inbox may lie: a folder, or any file system that fsspec knows (`s3://…`, `sftp://…`, `az://…`).

Of a folder the walk of `irp_core.data` lists the files, so that what is no image or cannot be read is told apart as it
is in a data set; elsewhere the ending of a name has to do until the file was fetched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from irp_core.data.walk import EXTENSIONS, walk
from irp_core.line.ledger import SeenFile
from tasks.runtime.addresses import file_system

__all__ = ["Listing", "Place", "open_place"]

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of a file until one of the two is written to


@dataclass(frozen=True)
class Listing:
    """What lies in an inbox.

    Attributes:
        files: images by their names.
        unusable: path → why it cannot be used, of files that look like images.
        ignored: number of files that do not.
    """

    files: list[SeenFile]
    unusable: dict[str, str] = field(default_factory=dict)
    ignored: int = 0


class Place(Protocol):
    """An inbox that can be listed and copied from."""

    def list(self) -> Listing:
        """Raises OSError where it does not answer."""

    def stamp(self, path: str) -> SeenFile | None:
        """The file as it is now; None where it is gone."""

    def fetch(self, path: str, target: Path, how: str) -> None:
        """Bring a file's content to `target`, which does not exist.

        Args:
            how: `auto` (a reflink where the file system can, else a copy), `hardlink` or `copy`.
        """


def open_place(address: str, options: Mapping[str, Any]) -> Place:
    """The inbox at an address.

    Args:
        options: of the file system, as fsspec takes them.

    Raises:
        InputError: a file system that is not known or not installed, or options that it does not take.
    """
    if "://" not in address:
        return _Folder(Path(address).expanduser())
    system, path = file_system(address, options)
    from fsspec.implementations.local import LocalFileSystem

    if isinstance(system, LocalFileSystem):
        return _Folder(Path(path))
    return _Elsewhere(address, system, path.rstrip("/"))


@dataclass(frozen=True)
class _Folder:
    root: Path

    def list(self) -> Listing:
        tree = walk(self.root)
        found = [(path, self.stamp(path)) for path in tree.images]  # what is gone by now was never there
        files = [file for _, file in found if file is not None]
        return Listing(files, dict(tree.quarantined), sum(entry.files for entry in tree.ignored))

    def stamp(self, path: str) -> SeenFile | None:
        try:
            status = (self.root / path).stat()
        except OSError:
            return None
        return SeenFile(path, status.st_size, str(status.st_mtime_ns))

    def fetch(self, path: str, target: Path, how: str) -> None:
        source = self.root / path
        if how == "hardlink":
            os.link(source.resolve(), target)
            return
        if how == "auto" and _reflink(source, target):
            return
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class _Elsewhere:
    address: str
    system: Any
    root: str

    def list(self) -> Listing:
        self.system.invalidate_cache()
        try:
            found = self.system.find(self.root, detail=True)
        except FileNotFoundError:  # an object store has no empty folders
            found = {}
        except Exception as error:  # each file system has errors of its own
            raise OSError(f"{self.address}: the inbox does not answer ({error or type(error).__name__}).") from error
        files, unusable, ignored = [], {}, 0
        for name, info in sorted(found.items()):
            path = name[len(self.root) :].lstrip("/")
            if not path or PurePosixPath(path).suffix.lower() not in EXTENSIONS:
                ignored += 1
            elif ".." in path.split("/") or not path.isprintable():  # an object's key may be any text
                unusable[repr(path)] = "its name is no path in a folder: rename it"
            else:
                files.append(SeenFile(path, int(info.get("size") or 0), _stamp(info)))
        return Listing(files, unusable, ignored)

    def stamp(self, path: str) -> SeenFile | None:
        self.system.invalidate_cache()
        try:
            info = self.system.info(f"{self.root}/{path}")
        except FileNotFoundError:
            return None
        return SeenFile(path, int(info.get("size") or 0), _stamp(info))

    def fetch(self, path: str, target: Path, how: str) -> None:
        try:
            self.system.get_file(f"{self.root}/{path}", str(target))
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{error or type(error).__name__}") from error


def _stamp(info: Mapping[str, Any]) -> str:
    """The ETag, or else the time of the last change, under the names that the file systems give them."""
    for key in (
        "ETag",
        "etag",
        "content_md5",
        "mtime",
        "LastModified",
        "last_modified",
        "modified",
        "updated",
        "created",
    ):
        if info.get(key) is not None:
            return str(info[key])
    return ""


def _reflink(source: Path, target: Path) -> bool:
    """Make `target` share the blocks of `source` until one of them is written to; False where that cannot be."""
    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            return True
        except OSError:
            pass
    target.unlink()
    return False
