"""The file of a ledger: its tables, and a digest of every row, so that a value that was damaged is noticed.

SQLite finds a page that makes no sense; it does not find another number in a page that does.

Example:
    >>> row = ("2026-11-28/a.png", "9" * 32, 1.0, 7, 0, None)
    >>> is_intact((*row, row_digest(*row))), is_intact((*row[:3], 8, 0, None, row_digest(*row)))
    (True, False)
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from irp_core.atomic import atomic_path
from irp_core.data.look import Facts
from irp_core.errors import InputError
from irp_core.hashing import row_digest

__all__ = [
    "FACTS", "FILES", "IMAGES", "OF_FILE", "SEEN", "DamagedLedger", "SeenFile", "connect", "decide_file",
    "enter_image", "failure", "is_intact", "is_sound", "make_tables", "salvage", "seal",
]  # fmt: skip

FILES = ("path", "size", "stamp", "state", "first_seen", "decided_at", "md5", "image_id", "note")
"""What is noted of a file of the inbox; the column `digest` is that of these."""
IMAGES = ("image_id", "md5", "taken_at", "round", "held_out", "set_aside")
"""What is noted of an image of the line; the column `digest` is that of these."""
FACTS = ("width", "height", "near_binary", "bits", "lowest", "highest", "white", "pages")
SEEN = ("image_id", "md5", "looked_with", *FACTS, "thumbnail")
"""What was seen in an image of the line; the column `seen_digest` is that of these."""

# What SQLite says of the machine, and what the machine would have said.
_OF_THE_DISK = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
OF_FILE = "(path, size, stamp) = (:path, :size, :stamp)"
"""Condition on a file's row, for `seal`."""
_SECONDS = 60  # to wait for another process' transaction
_DIGESTS = (("files", "digest", FILES), ("images", "digest", IMAGES), ("images", "seen_digest", SEEN))
# An index is a second copy of values that no digest covers: there is the one that must be (md5), and no other.
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT NOT NULL, size INTEGER NOT NULL, stamp TEXT NOT NULL,
    state TEXT NOT NULL, first_seen REAL NOT NULL, decided_at REAL, md5 TEXT, image_id TEXT, note TEXT, digest BLOB,
    PRIMARY KEY (path, size, stamp)
) WITHOUT ROWID;
DROP INDEX IF EXISTS files_by_state;
CREATE TABLE IF NOT EXISTS images (
    image_id TEXT PRIMARY KEY, md5 TEXT NOT NULL UNIQUE, taken_at REAL NOT NULL, looked_with TEXT NOT NULL,
    width INTEGER, height INTEGER, near_binary INTEGER, bits INTEGER, lowest REAL, highest REAL, white REAL,
    pages INTEGER, thumbnail BLOB NOT NULL, round INTEGER, held_out INTEGER, set_aside TEXT,
    digest BLOB, seen_digest BLOB
) WITHOUT ROWID;
DROP INDEX IF EXISTS images_by_round;
"""


@dataclass(frozen=True)
class SeenFile:
    """A file as a listing of the inbox shows it.

    Attributes:
        path: relative to the inbox, with `/`.
        size: bytes.
        stamp: what changes with the content as far as can be told without reading it: the time of the last change, or
            an ETag.
    """

    path: str
    size: int
    stamp: str


class DamagedLedger(InputError):
    """A row, or the file, is not as it was written: the next poll makes it again (`tasks.inbox.mending`).

    Args:
        what: was damaged, without a full stop.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; the next poll (irp line run) makes it again.")
        self.what = what


def failure(file: Path, error: Exception) -> Exception:
    """What an error of SQLite means for the ledger: the disk, another process, or damage."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # without the details
    if code in _OF_THE_DISK:
        return OSError(_OF_THE_DISK[code], os.strerror(_OF_THE_DISK[code]), str(file))
    if code in _BUSY:
        return InputError(f"{file}: another process has been writing to the ledger for {_SECONDS} s.")
    return DamagedLedger(f"{file}: the ledger was damaged ({error})")


def connect(file: Path) -> sqlite3.Connection:
    """A connection that knows `row_digest`, and that reads text which damage made no UTF-8, too."""
    database = sqlite3.connect(file, timeout=_SECONDS)
    database.create_function("row_digest", -1, row_digest, deterministic=True)
    database.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
    return database


def make_tables(database: sqlite3.Connection) -> None:
    """Make what is missing; rows that irp up to 0.13 wrote get their digests."""
    database.executescript(_TABLES)
    for table, digest, columns in _DIGESTS:
        known = {column for _, column, *_ in database.execute(f"PRAGMA table_info({table})")}
        if digest not in known:
            database.execute(f"ALTER TABLE {table} ADD COLUMN {digest} BLOB")
            database.execute(f"UPDATE {table} SET {digest} = row_digest({', '.join(columns)})")


def is_intact(row: Sequence[Any]) -> bool:
    """Whether a row's last value is the digest of those before it."""
    return bool(row_digest(*row[:-1]) == row[-1])


def seal(database: sqlite3.Connection, columns: Sequence[str], where: str, values: Iterable[Mapping[str, Any]]) -> None:
    """Give rows that were just written the digest of what they hold now.

    Args:
        columns: `FILES`, `IMAGES` or `SEEN`.
        where: a condition on a row, with names of `values`, which are those of a row each.
    """
    ((table, digest),) = [(table, digest) for table, digest, known in _DIGESTS if known is columns]
    statement = f"UPDATE {table} SET {digest} = row_digest({', '.join(columns)}) WHERE {where}"
    database.executemany(statement, values)


def decide_file(
    database: sqlite3.Connection,
    file: SeenFile,
    state: str,
    now: float,
    md5: str | None,
    image_id: str | None,
    note: str | None,
) -> None:
    """Note what became of a file."""
    database.execute(
        "INSERT INTO files (path, size, stamp, state, first_seen, decided_at, md5, image_id, note) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state, "
        "decided_at = excluded.decided_at, md5 = excluded.md5, image_id = excluded.image_id, note = excluded.note",
        (file.path, file.size, file.stamp, state, now, now, md5, image_id, note),
    )
    seal(database, FILES, OF_FILE, [asdict(file)])


def enter_image(database: sqlite3.Connection, image_id: str, facts: Facts, looked_with: str, now: float) -> bool:
    """Note an image; False where its name or its content is known."""
    values = asdict(facts) | {"thumbnail": facts.thumbnail.tobytes(), "near_binary": int(facts.near_binary)}
    row = {"image_id": image_id, "taken_at": now, "looked_with": looked_with, **values}
    marks = ", ".join(f":{name}" for name in row)
    added = database.execute(f"INSERT OR IGNORE INTO images ({', '.join(row)}) VALUES ({marks})", row).rowcount
    for columns in (IMAGES, SEEN) if added else ():
        seal(database, columns, "image_id = :image_id", [row])
    return bool(added)


def is_sound(database: sqlite3.Connection) -> bool:
    """Whether SQLite finds its pages and indices in order; reads all of the file."""
    return bool(database.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")


def salvage(file: Path, target: Path) -> None:
    """Write the rows of a damaged ledger that are as they were written into another file, `target`; a copy of the
    damaged one stays beside it, as `ledger.sqlite.damaged`."""
    seen = (*(column for column in SEEN if column not in IMAGES), "seen_digest")
    kept: list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]] = []
    with closing(connect(file)) as old:
        for table, columns, more in (("files", FILES, ()), ("images", IMAGES, seen)):
            noted = (*columns, "digest")
            rows = _readable(file, old, f"SELECT {', '.join((*noted, *more))} FROM {table}")
            kept.append((table, (*noted, *more), [row for row in rows if is_intact(row[: len(noted)])]))
    with atomic_path(file.with_name(f"{file.name}.damaged")) as copy:
        shutil.copyfile(file, copy)
    with closing(connect(target)) as new, new:
        make_tables(new)
        for table, names, rows in kept:
            marks = ", ".join("?" * len(names))
            new.executemany(f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)


def _readable(file: Path, database: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    """The rows up to where the file makes no sense any more."""
    rows: list[tuple[Any, ...]] = []
    try:
        for row in database.execute(query):
            rows.append(row)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not isinstance(found := failure(file, error), DamagedLedger):  # rows that are there would be lost
            raise found from error
    return rows
