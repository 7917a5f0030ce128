"""Which files there are below a folder, and why the others are no images of the set. Nothing is opened but folders.

Every file is in exactly one list: `images`, `quarantined` (an image by its name that cannot be used) or `ignored` (with
the reason). Each folder and each file is entered once, whatever links lead to it: the real path wins over a link.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from irp_core.data.own_output import own_output
from irp_core.errors import InputError
from irp_core.packed.index import open_packed
from irp_core.packed.layout import INDEX, LEFT_OUT, SHARDS, is_packed
from irp_core.packed.packing import is_unfinished
from irp_core.regular_file import shown

__all__ = ["EXTENSIONS", "Ignored", "Tree", "walk"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_NOT_READ = frozenset(
    (".gif", ".jfif", ".jpe", ".jp2", ".j2k", ".pgm", ".ppm", ".pbm", ".pnm", ".tga", ".dds", ".eps", ".ps", ".heic",
     ".heif", ".avif", ".jxl", ".raw", ".dng", ".cr2", ".nef", ".arw", ".exr", ".hdr", ".ico", ".svg", ".psd", ".dcm",
     ".npy", ".fits", ".mat")
)  # fmt: skip
_FOLDERS = {
    **dict.fromkeys(("@eadir", "@tmp", "__macosx", "@__thumb"), "made by a storage system, not by a camera"),
    **dict.fromkeys(("thumbs", "thumbnails", "thumb", "thumbnail"), "thumbnails"),
    **dict.fromkeys(("#recycle", "@recycle", "$recycle.bin", "recycler", "trash", "recycle bin", "lost+found",
                     "system volume information", "#snapshot", "@recently-snapshot"), "a trash or system folder"),
}  # fmt: skip
_NOT_UTF8 = "its name is not UTF-8: rename it (for example: convmv -f latin1 -t utf8)"
Inode = tuple[int, int]


@dataclass(frozen=True)
class Ignored:
    """A file, or a folder (its path ends with `/`) with the number of files in it, that is no part of the set."""

    path: str
    reason: str
    files: int = 1


@dataclass(frozen=True)
class Tree:
    """What lies below `root`; all paths are relative to it, with `/`, and sorted.

    Attributes:
        images: regular files whose ending is one of `EXTENSIONS`.
        quarantined: path → reason.
    """

    root: Path
    images: tuple[str, ...]
    quarantined: dict[str, str]
    ignored: tuple[Ignored, ...]

    @property
    def left_out(self) -> list[tuple[str, int, str, bool]]:
        """(path, files, reason, whether it is quarantined) of what is in `quarantined` or `ignored`."""
        ignored = [(entry.path, entry.files, entry.reason, False) for entry in self.ignored]
        return [*ignored, *((path, 1, reason, True) for path, reason in self.quarantined.items())]

    def below(self, folder: str) -> list[str]:
        """The images below a folder (`""`: all)."""
        return [image for image in self.images if not folder or image.startswith(f"{folder}/")]

    def folders(self, folder: str = "") -> list[str]:
        """The names of the folders directly below `folder` that hold images at any depth, sorted."""
        return self._inside.get(folder, [])

    @cached_property
    def _inside(self) -> dict[str, list[str]]:
        """Folder → the names of those directly below it: looked for once, however many folders there are."""
        found: dict[str, set[str]] = {}
        for folder in {image.rpartition("/")[0] for image in self.images}:
            path = folder
            while path:
                above, _, name = path.rpartition("/")
                found.setdefault(above, set()).add(name)
                path = above
        return {folder: sorted(names) for folder, names in found.items()}

    def named(self, names: str, folder: str = "") -> str | None:
        """The path of the folder below `folder` whose name is `names` in any case."""
        found = [name for name in self.folders(folder) if name.casefold() == names]
        return (f"{folder}/{found[0]}" if folder else found[0]) if found else None


def walk(root: Path) -> Tree:
    """List what lies below a folder.

    Raises:
        InputError: `root` is no folder, cannot be read, or has a name that is not UTF-8.
    """
    if shown(str(root)) != str(root):
        raise InputError(f"{shown(str(root))}: {_NOT_UTF8}.")
    try:
        if is_packed(root):
            return _packed(root)
        if is_unfinished(root):
            raise InputError(f"{root}: its packing did not end; the same `irp pack` again goes on with it.")
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise InputError(f"{root}: expected a folder of images, found {found}.")
        os.scandir(root).close()
        return _Walk(root).done()
    except OSError as error:
        raise InputError(f"{root}: cannot be read ({error.strerror}).") from None


def _packed(root: Path) -> Tree:
    """What the folder held when it was packed, and what lies beside the shards by now."""
    packed = open_packed(root)
    names = packed.image_ids()
    ours = {INDEX, SHARDS, LEFT_OUT, *(str(row["name"]) for row in packed.shards.values())}
    left_out = packed.left_out()
    quarantined = left_out[left_out["quarantined"]]
    rows = left_out[~left_out["quarantined"]]
    ignored = [Ignored(row.path, row.reason, int(row.files)) for row in rows.itertuples()]
    with os.scandir(root) as entries:
        beside = [entry for entry in entries if entry.name not in ours]
    for entry in beside:
        folder = entry.is_dir(follow_symlinks=False)
        files = _count(root / entry.name) if folder else 1
        ignored.append(Ignored(shown(entry.name) + "/" * folder, "beside the shards of a packed set", files))
    return Tree(
        root,
        names,
        dict(sorted(zip(quarantined["path"], quarantined["reason"], strict=True))),
        tuple(sorted(ignored, key=lambda entry: entry.path)),
    )


@dataclass
class _Walk:
    root: Path
    images: list[str] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)
    ignored: list[Ignored] = field(default_factory=list)

    def __post_init__(self) -> None:
        here = self.root.resolve()
        self._above = {_inode(folder.stat()) for folder in here.parents}
        self._seen: dict[Inode, str] = {_inode(here.stat()): "the data set's own folder"}
        self._folders: deque[str] = deque([""])
        self._links: deque[str] = deque()

    def done(self) -> Tree:
        while self._folders or self._links:
            if self._folders:
                self._enter(self._folders.popleft())
            else:  # what lies here itself comes before what is only linked
                self._follow(self._links.popleft())
        return Tree(
            self.root,
            tuple(sorted(self.images)),
            dict(sorted(self.quarantined.items())),
            tuple(sorted(self.ignored, key=lambda entry: entry.path)),
        )

    def _enter(self, folder: str) -> None:
        try:
            with os.scandir(self.root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.quarantined[f"{folder}/"] = f"cannot be read: {error.strerror}"
            return
        names = {entry.name for entry in found}
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                self._broken(path, f"cannot be read: {error.strerror}")
                continue
            if stat.S_ISDIR(status.st_mode):
                self._folder(path, status, f"{entry.name}.dvc" in names)
            elif stat.S_ISLNK(status.st_mode) and not entry.name.startswith("."):
                self._links.append(path)
            else:
                self._file(path, status)

    def _follow(self, link: str) -> None:
        try:
            status = (self.root / link).stat()
        except OSError as error:
            self._broken(link, f"a link that leads nowhere ({error.strerror})")
            return
        if not stat.S_ISDIR(status.st_mode):
            self._file(link, status)
        elif _inode(status) in self._above:
            self.quarantined[f"{shown(link)}/"] = "a link to a folder that holds the data set"
        elif before := self._seen.get(_inode(status)):
            self.quarantined[f"{shown(link)}/"] = f"a link to {before}, which is looked at anyway"
        else:
            self._folder(link, status, has_dvc_file=False)

    def _folder(self, path: str, status: os.stat_result, has_dvc_file: bool) -> None:
        name = PurePosixPath(path).name
        self._seen[_inode(status)] = shown(path)
        reason = _FOLDERS.get(name.casefold())
        if name.startswith("."):
            reason = _FOLDERS["trash"] if name.casefold().startswith(".trash") else "a hidden folder"
        reason = reason or own_output(self.root / path, has_dvc_file)
        if reason is None and is_packed(self.root / path):
            reason = "a packed set, which is refined by itself"
        if reason:
            self.ignored.append(Ignored(f"{shown(path)}/", reason, _count(self.root / path)))
        elif shown(name) != name:
            self.quarantined[f"{shown(path)}/"] = f"{_NOT_UTF8}; {_count(self.root / path)} files in it"
        else:
            self._folders.append(path)

    def _file(self, path: str, status: os.stat_result) -> None:
        name = path.rpartition("/")[2]
        dot = name.rfind(".")
        ending = name[dot:].lower() if 0 < dot < len(name) - 1 else ""
        if name.startswith("._"):
            self.ignored.append(Ignored(shown(path), "written by macOS beside each file"))
        elif name.startswith("."):
            self.ignored.append(Ignored(shown(path), "a hidden file"))
        elif ending not in EXTENSIONS:
            kind = "an image of a format that is not read" if ending in _NOT_READ else "no image"
            self.ignored.append(Ignored(shown(path), f"{kind} ({ending or 'no ending'})"))
        elif not stat.S_ISREG(status.st_mode):
            self.quarantined[shown(path)] = "no regular file"
        elif shown(name) != name:
            self.quarantined[shown(path)] = _NOT_UTF8
        elif before := self._seen.get(_inode(status)):
            self.quarantined[path] = f"the same file as {before}"
        else:
            self._seen[_inode(status)] = path
            self.images.append(path)

    def _broken(self, path: str, reason: str) -> None:
        """Of what cannot be looked at only the name is known."""
        ending = PurePosixPath(path).suffix.lower()
        if ending and ending not in EXTENSIONS:
            self.ignored.append(Ignored(shown(path), reason))
        else:
            self.quarantined[shown(path)] = reason


def _inode(status: os.stat_result) -> Inode:
    return status.st_dev, status.st_ino


def _count(folder: Path) -> int:
    """Files below a folder that is not entered."""
    return sum(len(files) for _, _, files in os.walk(folder))
