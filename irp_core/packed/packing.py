"""Pack a folder of images into shards: the same images give the same bytes, a kill costs the shard being written."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from irp_core.atomic import atomic_path, read_json, write_json
from irp_core.errors import InputError
from irp_core.hashing import file_md5
from irp_core.packed.images import image_state, read_image
from irp_core.packed.index import write_checked
from irp_core.packed.layout import (
    INDEX,
    INDEX_SCHEMA,
    LEFT_OUT,
    LEFT_OUT_SCHEMA,
    SHARDS,
    SHARDS_SCHEMA,
    is_packed,
    shard_name,
)

__all__ = ["Packed", "arrow_table", "is_unfinished", "pack", "write_index"]

_WORK = ".packing"  # what is done so far, by shard; it goes when the set is whole
_BLOCK, _RECORD = 512, 10240  # bytes, of tar
LeftOut = tuple[str, int, str, bool]
Listed = list[tuple[str, list[int]]]  # images of a shard, each with its state when it was listed


@dataclass(frozen=True)
class Packed:
    """What became of a folder: `shards` files with `images` images of `bytes` bytes; `left_out` files are in none."""

    folder: Path
    images: int
    shards: int
    bytes: int
    left_out: int


def is_unfinished(folder: Path) -> bool:
    """Whether a packing broke off here."""
    try:
        return (folder / _WORK).is_dir() and not is_packed(folder)
    except OSError:  # a folder that may not be entered: whoever lists it says so
        return False


def pack(
    root: Path,
    images: Sequence[str],
    to: Path,
    *,
    left_out: Sequence[LeftOut],
    shard_bytes: int,
    max_bytes: int,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Write the images below `root` into shards in the folder `to`.

    A shard appears whole, and the index comes last: without it there is no packed set. After a kill the same call goes
    on with what is whole; images that changed since are packed anew. Members carry no time, owner or mode of their own,
    so that the same images give the same bytes on any machine.

    Args:
        images: their paths below `root`, with `/`.
        left_out: of what else the folder holds: path, files, reason, and whether it is an image that cannot be used.
        shard_bytes: of images, from which a shard is full; a larger image has one of its own.
        max_bytes: of an image; larger ones and those that cannot be read are left out, with the reason.
        progress: called with (images done, images in all).

    Raises:
        InputError: `to` holds something else, or another process packs into it.
    """
    _expect_free(root, to)
    work = to / _WORK
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            parts: list[dict[str, Any]] = []
            done = 0
            for listed in _shards(root, images, shard_bytes):
                number = len(parts)
                parts.append(_done_before(to, number, listed) or _write_shard(root, listed, to, number, max_bytes))
                done += len(listed)
                if progress:
                    progress(done, len(images))
            _drop_beyond(to, len(parts))
            found = _finish(to, parts, left_out)
    except Timeout:
        raise InputError(f"{to}: another process packs into this folder.") from None
    shutil.rmtree(work)
    return found


def _expect_free(root: Path, to: Path) -> None:
    if to.resolve().is_relative_to(root.resolve()) or root.resolve().is_relative_to(to.resolve()):
        raise InputError(f"{to}: expected a folder apart from the images {root}, found one inside the other.")
    if is_packed(to):
        raise InputError(f"{to}: holds a packed set; name a folder that does not exist, with --to.")
    if to.exists() and not (to.is_dir() and (is_unfinished(to) or not any(to.iterdir()))):
        raise InputError(f"{to}: expected a folder that does not exist or is empty, found something there.")


def _shards(root: Path, images: Sequence[str], shard_bytes: int) -> Iterator[Listed]:
    """Which images share a shard: in the order of their names, as many as fit."""
    listed: Listed = []
    held = 0
    for image in sorted(images):
        try:
            state = list(image_state(root / image))
        except OSError:  # whoever reads it says why
            state = [0]
        if listed and held + state[0] > shard_bytes:
            yield listed
            listed, held = [], 0
        listed.append((image, state))
        held += state[0]
    if listed:
        yield listed


def _done_before(to: Path, number: int, listed: Listed) -> dict[str, Any] | None:
    """What an earlier attempt noted of a shard, if the images are still these and the shard is as it was written."""
    shard, note = to / shard_name(number), _note(to, number)
    if not (shard.is_file() and note.is_file()):
        return None
    try:
        found: dict[str, Any] = read_json(note)
        same = [[image, state] for image, state in listed] == found["listed"]
        return found if same and file_md5(shard) == found["md5"] else None
    except (InputError, KeyError, TypeError):
        return None


def _write_shard(root: Path, listed: Listed, to: Path, number: int, max_bytes: int) -> dict[str, Any]:
    note = _note(to, number)
    note.unlink(missing_ok=True)  # from here on it would speak of another shard
    rows: list[tuple[str, str, int, int, int]] = []
    problems: list[tuple[str, str]] = []
    digest, at = hashlib.md5(usedforsecurity=False), 0
    with atomic_path(to / shard_name(number)) as temporary, open(temporary, "wb") as shard:

        def write(content: bytes) -> None:
            nonlocal at
            shard.write(content)
            digest.update(content)
            at += len(content)

        for image, _ in listed:
            try:
                content = read_image(root / image, max_bytes)
            except InputError as error:
                problems.append((image, str(error)))
                continue
            write(_header(image, len(content)))
            rows.append((image, hashlib.md5(content, usedforsecurity=False).hexdigest(), number, at, len(content)))
            write(content)
            write(bytes(-at % _BLOCK))
        write(bytes(2 * _BLOCK))
        write(bytes(-at % _RECORD))
    found = {"md5": digest.hexdigest(), "bytes": at, "rows": rows, "problems": problems, "listed": listed}
    write_json(note, found)
    return found


def _header(name: str, size: int) -> bytes:
    """A member's header, as `tar --format=pax --mtime=@0 --owner=0 --group=0 --mode=644` writes it."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _note(to: Path, number: int) -> Path:
    return to / _WORK / f"{number:06d}.json"


def _drop_beyond(to: Path, count: int) -> None:
    """Delete the shards of an earlier attempt that had more of them."""
    for note in (to / _WORK).glob("*.json"):
        if (number := int(note.stem)) >= count:
            (to / shard_name(number)).unlink(missing_ok=True)
            note.unlink()


def _finish(to: Path, parts: Sequence[dict[str, Any]], left_out: Sequence[LeftOut]) -> Packed:
    tables = [arrow_table(part["rows"], INDEX_SCHEMA) for part in parts]
    index = pa.concat_tables([INDEX_SCHEMA.empty_table(), *tables])
    shards = [
        (number, shard_name(number), part["md5"], part["bytes"], len(part["rows"])) for number, part in enumerate(parts)
    ]
    problems = [(image, 1, reason, True) for part in parts for image, reason in part["problems"]]
    outside = sorted([*left_out, *problems])
    write_index(to, index, arrow_table(shards, SHARDS_SCHEMA), outside)
    images = sum(index.column("bytes").to_pylist())
    return Packed(to, len(index), len(parts), images, sum(files for _, files, _, _ in outside))


def write_index(folder: Path, index: pa.Table, shards: pa.Table, left_out: Sequence[LeftOut]) -> None:
    """Write the tables of a packed set; the index comes last, and with it the set is there."""
    if left_out:
        write_checked(arrow_table(left_out, LEFT_OUT_SCHEMA), folder / LEFT_OUT, LEFT_OUT_SCHEMA)
    write_checked(shards, folder / SHARDS, SHARDS_SCHEMA)
    write_checked(index, folder / INDEX, INDEX_SCHEMA)


def arrow_table(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Rows in the order of a schema's columns."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
