"""Segments of the feature store: immutable files of rows with their keys, used only once their digest agrees.

A segment is one Arrow IPC file (`digest`: 16 bytes of the image's md5, `view`, `features`: the row's numbers), named by
the sha256 of its bytes: it exists whole under its name or not at all. Arrow's own readers (pyarrow, pandas, polars,
DuckDB) read it, too.

Stores of irp up to 0.7 have `<name>.npy` and, written after it, `<name>.json` with the keys and a digest of both (or,
older still, the keys alone); these are read as they are, until the store joins them into larger ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from irp_core.atomic import atomic_path, read_json
from irp_core.errors import InputError
from irp_core.hashing import file_sha256

__all__ = [
    "SUFFIX", "Key", "Keys", "Segment", "digests_of", "keys_of_bytes", "keys_to_bytes", "name_of", "open_segments",
    "write_segment",
]  # fmt: skip

Key = tuple[str, int]
"""(md5 of the image's bytes, index of the view in the bank)."""
Rows = NDArray[Any]
_NAMED = 32  # hexadecimal digits of the sha256 that name a segment
SUFFIX = ".arrow"
# Segments that this process has held against their digest, as they were then: a run opens its store many times.
_SEEN: set[tuple[str, int, int, int]] = set()


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys of n rows: `digests` uint64 (n, 2), the two halves of each image's md5, and `views` uint16 (n,)."""

    digests: NDArray[np.uint64]
    views: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Keys:
        return Keys(self.digests[rows], self.views[rows])

    @classmethod
    def of(cls, keys: Sequence[Key]) -> Keys:
        return cls(digests_of([md5 for md5, _ in keys]), np.array([view for _, view in keys], dtype=np.uint16))

    @classmethod
    def joined(cls, parts: Sequence[Keys]) -> Keys:
        return cls(np.concatenate([part.digests for part in parts]), np.concatenate([part.views for part in parts]))


def digests_of(md5s: Sequence[str]) -> NDArray[np.uint64]:
    """Each md5 in hexadecimal digits as two halves (n, 2); of any other name, the halves of its own md5.

    Example:
        >>> digests_of(["0" * 31 + "1", "plate"]).tolist()[0]
        [0, 1]
    """
    try:
        if any(len(md5) != 32 for md5 in md5s):
            raise ValueError
        content = bytes.fromhex("".join(md5s))
        if len(content) != 16 * len(md5s):  # fromhex passes over blanks
            raise ValueError
    except ValueError:
        content = b"".join(_digest_of(md5) for md5 in md5s)
    return np.frombuffer(content, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def _digest_of(md5: str) -> bytes:
    try:
        digest = bytes.fromhex(md5)
    except ValueError:
        digest = b""
    return digest if len(digest) == 16 else hashlib.md5(md5.encode(), usedforsecurity=False).digest()


class Segment:
    """A segment's file; its rows are mapped for as long as they are read, and no longer.

    Args:
        count: of its rows.
        size: in bytes.
        digest: that its content must have; None where an older version noted none.
        keys: of a segment of the older form, whose keys come from another file than its rows.
    """

    def __init__(self, path: Path, count: int, size: int, digest: str | None, keys: Keys | None = None) -> None:
        self.path, self.count, self.size = path, count, size
        self._digest = digest
        self._listed = 0 if keys is None else hash((digest, keys.digests.tobytes(), keys.views.tobytes()))

    @property
    def is_current(self) -> bool:
        """Whether it has the present form."""
        return self.path.suffix == SUFFIX

    def keys(self) -> Keys:
        """The keys of the rows, read anew: the index of a store holds them in less memory."""
        if not self.is_current:
            return Keys.of(_listed(self.path.with_suffix(".json"))[0])
        with pa.memory_map(str(self.path)) as source:
            return _keys(_batch(source))

    @contextmanager
    def rows(self) -> Iterator[Rows]:
        """The rows (n, numbers), mapped from the file; of a sound segment (`damage`).

        Raises:
            FileNotFoundError: the file is gone.
        """
        if not self.is_current:
            yield np.load(self.path, mmap_mode="r", allow_pickle=False)
            return
        with pa.memory_map(str(self.path)) as source:
            yield _features(_batch(source))

    def damage(self, dtype: np.dtype[Any]) -> str | None:
        """What is wrong with the segment; None where nothing is.

        Raises:
            FileNotFoundError: the file is gone.
            InputError: it may not be read.
        """
        try:
            state = self.path.stat()
            now = (str(self.path.resolve()), state.st_mtime_ns, state.st_ino, self._listed)
            if now in _SEEN:
                return None
            if self._digest is not None and self._measured() != self._digest:
                return f"{self.path}: was changed since it was written (its sha256 differs)"
            with self.rows() as rows:
                if rows.dtype != dtype or rows.ndim != 2 or len(rows) != self.count:
                    return (
                        f"{self.path}: expected {self.count} rows of {dtype}, found {rows.dtype} of shape {rows.shape}"
                    )
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}).") from None
        except (OSError, ValueError, EOFError, KeyError, pa.ArrowException) as error:
            return f"{self.path}: is not a readable segment ({error})"
        _SEEN.add(now)
        return None

    def _measured(self) -> str:
        digest = _file_digest(self.path)
        if self.is_current:
            return digest[:_NAMED]
        listed = json.dumps([[md5, view] for md5, view in _listed(self.path.with_suffix(".json"))[0]])
        return hashlib.sha256(f"{digest}\n{listed}".encode()).hexdigest()

    def remove(self) -> None:
        """Delete the segment."""
        # The index first: without it the older form does not exist.
        self.path.with_suffix(".json").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _file_digest(path: Path) -> str:
    """sha256 of a file.

    Raises:
        FileNotFoundError: it is gone.
    """
    try:
        return file_sha256(path)
    except InputError:
        path.stat()
        raise


def write_segment(directory: Path, keys: Keys, rows: Rows) -> Segment:
    """Write rows (n, numbers) under the digest of what is written; it appears whole or not at all."""
    count, numbers = rows.shape
    values = pa.array(np.ascontiguousarray(rows).reshape(-1))
    content = _arrow({**_key_columns(keys), "features": pa.FixedSizeListArray.from_arrays(values, numbers)})
    digest = name_of(content)
    path = directory / f"{digest}{SUFFIX}"
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
    return Segment(path, count, content.size, digest)


def name_of(content: bytes | pa.Buffer) -> str:
    """What names these bytes in a store: the first digits of their sha256."""
    return hashlib.sha256(content).hexdigest()[:_NAMED]


def keys_to_bytes(keys: Keys) -> bytes:
    """The keys of a segment alone, as an Arrow file."""
    return bytes(_arrow(_key_columns(keys)))


def keys_of_bytes(content: bytes) -> Keys:
    """The keys that `keys_to_bytes` wrote."""
    return _keys(_batch(pa.BufferReader(content)))


def _key_columns(keys: Keys) -> dict[str, pa.Array]:
    digests = pa.py_buffer(keys.digests.astype(">u8").tobytes())
    return {
        "digest": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, digests]),
        "view": pa.array(keys.views),
    }


def _arrow(columns: dict[str, pa.Array]) -> pa.Buffer:
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def open_segments(directory: Path, known: Collection[str]) -> Iterator[tuple[str, tuple[Segment, Keys] | str]]:
    """(name, segment with its keys, or what is wrong with it) of each in `directory` that is not `known`, by name.

    Raises:
        FileNotFoundError: one vanished meanwhile, as when another process joins small ones: list them again.
    """
    for path in sorted(directory.iterdir()):
        current = path.suffix == SUFFIX and not path.name.startswith(".")
        older = path.suffix == ".json" and path.name != "spec.json" and not path.name.startswith(".")
        if not (current or older) or path.name in known:
            continue
        try:
            yield path.name, _open_current(path) if current else _open_older(path)
        except (OSError, ValueError, KeyError, pa.ArrowException, InputError) as error:
            path.lstat()  # raises where the file is gone; a link that leads nowhere is damage
            if isinstance(error, PermissionError):
                raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
            yield path.name, str(error) if isinstance(error, InputError) else f"{path}: is no segment ({error})"


def _open_current(path: Path) -> tuple[Segment, Keys]:
    with pa.memory_map(str(path)) as source:
        keys = _keys(_batch(source))
        return Segment(path, len(keys), source.size(), path.stem), keys


def _open_older(index: Path) -> tuple[Segment, Keys]:
    listed, digest = _listed(index)
    path, keys = index.with_suffix(".npy"), Keys.of(listed)
    return Segment(path, len(keys), path.stat().st_size if path.exists() else 0, digest, keys), keys


def _keys(batch: pa.RecordBatch) -> Keys:
    digest, view = batch.column("digest"), batch.column("view")
    if digest.type != pa.binary(16) or view.type != pa.uint16():
        raise ValueError(f"expected keys of 16 bytes and a number, found {digest.type} and {view.type}")
    halves = np.frombuffer(digest.buffers()[1], dtype=">u8", count=2 * len(batch))
    return Keys(halves.astype(np.uint64).reshape(-1, 2), view.to_numpy().copy())


def _batch(source: pa.NativeFile) -> pa.RecordBatch:
    reader = pa.ipc.open_file(source)
    if reader.num_record_batches != 1:
        raise ValueError(f"expected one batch of rows, found {reader.num_record_batches}")
    batch = reader.get_batch(0)
    batch.validate()
    return batch


def _features(batch: pa.RecordBatch) -> Rows:
    column = batch.column("features")
    rows: Rows = column.values.to_numpy(zero_copy_only=True).reshape(len(batch), column.type.list_size)
    return rows


def _listed(index: Path) -> tuple[list[Key], str | None]:
    """Keys and digest of a segment of the older form."""
    found = read_json(index)
    old = isinstance(found, list)
    try:
        keys, digest = (found, None) if old else (found["keys"], found["sha256"])
        read = [(str(md5), int(view)) for md5, view in keys]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{index}: expected the keys of a segment, found something else.") from None
    if not old and not isinstance(digest, str):
        raise InputError(f"{index}: expected the digest of a segment, found none.")
    return read, digest
