"""The one place where an image is opened: a file, a member of a packed set, or a part of a file.

An image's address is a path. `<packed set>/<image_id>` names an image of a packed set, as if it lay in the folder;
`<file>/<offset>+<bytes>` some bytes of a file (a shard in DVC's cache, whose name says nothing). Neither can be a real
file's path as long as the packed set's folder holds nothing but its shards, and where one is, the file comes first:
its md5 then is not the one that the manifest has.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from irp_core.errors import InputError
from irp_core.hashing import file_md5
from irp_core.packed.index import Place, open_packed
from irp_core.packed.layout import is_packed
from irp_core.regular_file import leads_outside, read_part, read_regular

__all__ = ["copy_image", "image_md5", "image_state", "is_image", "part_of", "read_image"]

_PART = re.compile(r"(\d{1,18})\+(\d{1,18})")
_LARGEST = 2**40  # bytes, where no setting bounds an image


def read_image(path: Path, max_bytes: int = _LARGEST) -> bytes:
    """The bytes of an image of at most `max_bytes` bytes.

    Raises:
        InputError: no image there, a larger one, one that cannot be read, or other bytes than its packed set says;
            says why, not which.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "shard"
        ...     _ = file.write_bytes(b"0123456789")
        ...     read_image(file), read_image(part_of(file, 2, 3))
        (b'0123456789', b'234')
    """
    try:
        return read_regular(path, max_bytes)
    except InputError:
        place = _place(path)
        if place is None:
            raise
    return _checked(place, max_bytes)[0]


def is_image(path: Path) -> bool:
    """Whether there is a regular file, or an image of a packed set whose shard is there."""
    try:
        if path.is_file():
            return True
        place = _place(path)
        return place is not None and place.file.is_file()
    except OSError:  # below a folder that may not be entered
        return False


def image_md5(path: Path) -> str:
    """MD5 (hex) of an image's bytes.

    Raises:
        InputError: it cannot be read.
    """
    place = None if path.is_file() else _place(path)
    if place is None:
        return file_md5(path)
    try:
        return _checked(place, _LARGEST)[1]
    except InputError as error:
        raise InputError(f"{path}: {error}.") from None


def _checked(place: Place, max_bytes: int) -> tuple[bytes, str]:
    """An image's bytes in a shard, and their md5."""
    content = read_part(place.file, place.offset, place.bytes, max_bytes)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if place.md5 is not None and md5 != place.md5:
        raise InputError("its bytes in the shard are not those that the packed set's index names")
    return content, md5


def image_state(path: Path) -> tuple[int, ...]:
    """What changes when an image's bytes do: size, modification time in nanoseconds, inode, and its place in a shard.

    Raises:
        OSError: there is none.
    """
    try:
        found = path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino
    except OSError:
        place = _place(path)
        if place is None:
            raise
        shard = place.file.stat()
        return place.bytes, shard.st_mtime_ns, shard.st_ino, place.offset


def part_of(file: Path, offset: int, size: int) -> Path:
    """The address of `size` bytes of a file."""
    return file / f"{offset}+{size}"


def copy_image(path: Path, folder: Path, name: str, *, link: bool = False) -> Path:
    """Make `folder / name` a file with an image's bytes, or, with `link` and where it is a file of its own, a link.

    Returns:
        The new file.

    Raises:
        InputError: the image cannot be read; the name leads out of the folder, or something lies there.
    """
    target = folder / name
    if leads_outside(name) or os.path.lexists(target):
        raise InputError(f"{name}: expected the path of one image below a data set's folder, found another.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        if link:
            target.symlink_to(path.resolve())
        else:
            shutil.copyfile(path, target)
        return target
    try:
        target.write_bytes(read_image(path))
    except InputError as error:
        raise InputError(f"{path}: {error}.") from None
    return target


def _place(path: Path) -> Place | None:
    """Where the bytes of what is no file are; None where the path is no address, either."""
    part = _PART.fullmatch(path.name)
    if part and path.parent.is_file():
        return Place(path.parent, int(part[1]), int(part[2]))
    for folder in path.parents:
        if is_packed(folder):
            return open_packed(folder).find(path.relative_to(folder).as_posix())
    return None
