"""The index of a packed set: where in which shard an image's bytes are."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from irp_core.atomic import atomic_path
from irp_core.errors import InputError
from irp_core.packed.layout import (
    INDEX,
    INDEX_SCHEMA,
    LEFT_OUT,
    LEFT_OUT_SCHEMA,
    SHARDS,
    SHARDS_SCHEMA,
    expect_images,
    expect_shard,
)

__all__ = ["PackedSet", "Place", "open_packed", "read_checked", "write_checked"]

_RATIO, _FREE_BYTES = 100, 100_000_000  # of an index that is read: a column of equal names compresses well
_OPEN = 8  # sets that a process holds at a time


@dataclass(frozen=True)
class Place:
    """Some bytes of a file, and their md5 where it is known."""

    file: Path
    offset: int
    bytes: int
    md5: str | None = None


class _Names(Sequence[str]):
    """Names of an Arrow array one at a time: ten million are not made Python strings to look one up."""

    def __init__(self, names: pa.Array) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, at: Any) -> Any:
        return self._names[at].as_py()


@dataclass(frozen=True)
class PackedSet:
    """A packed set's index in memory: some hundred bytes an image.

    Attributes:
        folder: where the shards lie.
        names: `image_id`, sorted.
        shards: number of a shard → its row of `shards.parquet`.
    """

    folder: Path
    names: Sequence[str]
    shards: dict[int, dict[str, Any]]
    _table: pa.Table
    _shard: NDArray[np.int32]
    _offset: NDArray[np.int64]
    _bytes: NDArray[np.int64]

    def find(self, image_id: str) -> Place | None:
        """Where an image's bytes are; None where the set has no such image."""
        at = bisect.bisect_left(self.names, image_id)
        if at == len(self.names) or self.names[at] != image_id:
            return None
        shard = self.shards[int(self._shard[at])]
        md5 = self._table.column("md5")[at].as_py()
        return Place(self.folder / shard["name"], int(self._offset[at]), int(self._bytes[at]), md5)

    def image_ids(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(self._table.column("image_id").to_pylist())

    def rows(self) -> pd.DataFrame:
        """The index as a table."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    def shard_rows(self) -> pd.DataFrame:
        """The shards as a table."""
        return pd.DataFrame(list(self.shards.values()), columns=SHARDS_SCHEMA.names)

    def left_out(self) -> pd.DataFrame:
        """What the folder held besides when it was packed: `path, files, reason, quarantined`."""
        file = self.folder / LEFT_OUT
        table = read_checked(file, LEFT_OUT_SCHEMA) if file.exists() else LEFT_OUT_SCHEMA.empty_table()
        frame: pd.DataFrame = table.to_pandas()
        return frame


_CACHE: dict[Path, tuple[tuple[int, ...], PackedSet]] = {}
_LOCK = threading.Lock()


def open_packed(folder: Path) -> PackedSet:
    """The packed set in a folder, read once per process and again when its index was written anew.

    Raises:
        InputError: none there, or an index that is damaged or leads out of the folder.
    """
    state = (*_state(folder / INDEX), *_state(folder / SHARDS))
    with _LOCK:
        known = _CACHE.get(folder)
        if known is None or known[0] != state:
            _CACHE.pop(folder, None)
            while len(_CACHE) >= _OPEN:
                _CACHE.pop(next(iter(_CACHE)))
            known = _CACHE[folder] = (state, read_index(folder / INDEX, folder / SHARDS, folder))
        return known[1]


def read_index(index: Path, shards: Path, folder: Path) -> PackedSet:
    """A packed set's index from its two files, wherever these lie.

    Args:
        folder: where the shards lie.

    Raises:
        InputError: see `open_packed`.
    """
    table = read_checked(index, INDEX_SCHEMA).combine_chunks()
    known = {int(row["number"]): row for row in read_checked(shards, SHARDS_SCHEMA).to_pylist()}
    for row in known.values():
        expect_shard(row["name"], folder)
    names = _one(table, "image_id")
    expect_images(names, index)
    if len(names) > 1 and not pc.all(pc.greater(names[1:], names[:-1])).as_py():
        raise InputError(f"{index}: expected each image once, in the order of their names.")
    shard, offset, size = (_one(table, name).to_numpy() for name in ("shard", "offset", "bytes"))
    numbers = np.array(sorted(known), dtype=np.int64)
    ends = np.array([known[int(number)]["bytes"] for number in numbers], dtype=np.int64)
    at = np.minimum(np.searchsorted(numbers, shard), max(0, len(numbers) - 1))
    if len(shard) and (not len(numbers) or (numbers[at] != shard).any()):
        raise InputError(f"{index}: names a shard that {shards.name} lacks.")
    # Each by itself: a sum of two large numbers may be a small one.
    if len(shard) and ((offset < 0) | (size < 0) | (offset > ends[at]) | (size > ends[at] - offset)).any():
        raise InputError(f"{index}: names bytes outside of their shard.")
    if not pc.all(pc.match_substring_regex(_one(table, "md5"), "^[0-9a-f]{32}$")).as_py() and len(names):
        raise InputError(f"{index}: md5 must be 32 hexadecimal digits in every row.")
    return PackedSet(folder, _Names(names), known, table, shard, offset, size)


def read_checked(file: Path, schema: pa.Schema) -> pa.Table:
    """A table that somebody else may have written.

    Raises:
        InputError: not there, no parquet file with these columns, or one that unpacks to far more than it has.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            facts = parquet.metadata
            size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
            if size > _RATIO * file.stat().st_size + _FREE_BYTES:
                raise InputError(f"{file}: refused, it unpacks to {size:,} bytes.")
            table = parquet.read()
    except FileNotFoundError:
        raise InputError(f"{file}: no such file.") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file}: is not a readable parquet file ({error}).") from None
    if table.schema.names != schema.names:
        raise InputError(f"{file}: expected columns {schema.names}, found {table.schema.names}.")
    try:
        return table.cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{file}: expected columns of other types ({error}).") from None


def write_checked(rows: pd.DataFrame | pa.Table, file: Path, schema: pa.Schema) -> None:
    """Write a table whole; the same rows give the same bytes."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
    with atomic_path(file) as temporary:
        pq.write_table(table.cast(schema).replace_schema_metadata(None), temporary)


def _one(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], type=column.type)


def _state(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
    return found.st_size, found.st_mtime_ns, found.st_ino
