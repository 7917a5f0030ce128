"""The ledger of an inbox: which file was seen when, what was taken of it, and what is known of each image.

A SQLite file: a poll of a thousand files is one transaction, and a kill leaves the last one that was complete.

A file counts once it is the same at two polls, `settle` seconds apart; by then it is `waiting`. What becomes of it is

- `taken`: its image is the line's own;
- `double`: its bytes are those of an image that was taken before;
- `unreadable`: no image of those that are read, with the reason; it is looked at again when it changes;
- `vanished`: it was gone before it could be taken.

A file that changes after that is a new row: what was taken stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from irp_core.data.look import THUMBNAIL, Facts
from irp_core.errors import InputError

__all__ = ["DOUBLE", "TAKEN", "UNREADABLE", "VANISHED", "WAITING", "Ledger", "SeenFile"]

WAITING, TAKEN, DOUBLE, UNREADABLE, VANISHED = "waiting", "taken", "double", "unreadable", "vanished"
_AT_ONCE = 500  # images per query
_SECONDS = 60  # to wait for another process' transaction
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT NOT NULL, size INTEGER NOT NULL, stamp TEXT NOT NULL,
    state TEXT NOT NULL, first_seen REAL NOT NULL, decided_at REAL, md5 TEXT, image_id TEXT, note TEXT,
    PRIMARY KEY (path, size, stamp)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_state ON files (state);
CREATE TABLE IF NOT EXISTS images (
    image_id TEXT PRIMARY KEY, md5 TEXT NOT NULL UNIQUE, taken_at REAL NOT NULL, looked_with TEXT NOT NULL,
    width INTEGER, height INTEGER, near_binary INTEGER, bits INTEGER, lowest REAL, highest REAL, white REAL,
    pages INTEGER, thumbnail BLOB NOT NULL, round INTEGER, held_out INTEGER, set_aside TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS images_by_round ON images (round);
"""
_FILES = ("path", "size", "stamp", "state", "first_seen", "decided_at", "md5", "image_id", "note")
_IMAGES = ("image_id", "md5", "taken_at", "round", "held_out", "set_aside")
_FACTS = ("width", "height", "near_binary", "bits", "lowest", "highest", "white", "pages")


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


class Ledger:
    """The ledger in a file, which is made where there is none.

    Raises:
        InputError: the file is no ledger.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ledger = Ledger(Path(folder) / "ledger.sqlite")
        ...     file = SeenFile("a.png", 9, "1")
        ...     [ledger.observe([file], at, settle=5.0) for at in (0.0, 3.0, 5.0)]
        [[], [], [SeenFile(path='a.png', size=9, stamp='1')]]
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._within: sqlite3.Connection | None = None
        with self._open() as database:
            database.executescript(_TABLES)

    def observe(self, listing: Iterable[SeenFile], now: float, *, settle: float) -> list[SeenFile]:
        """Note what the inbox shows now; returns the files to take: those that have been as they are for `settle`
        seconds, over two polls at least, and about which nothing is decided.

        Args:
            now: seconds since the epoch.
        """
        there = {file.path: file for file in listing}
        with self._open() as database:
            known: dict[str, list[tuple[int, str, str, float]]] = {}
            for path, *row in database.execute("SELECT path, size, stamp, state, first_seen FROM files"):
                known.setdefault(path, []).append(tuple(row))
            ready: list[SeenFile] = []
            for path, file in there.items():
                rows = known.get(path, [])
                same = [row for row in rows if row[:2] == (file.size, file.stamp)]
                for size, stamp, state, _ in rows:
                    if state == WAITING and (size, stamp) != (file.size, file.stamp):  # still being written
                        database.execute("DELETE FROM files WHERE (path, size, stamp) = (?, ?, ?)", (path, size, stamp))
                if not same or same[0][2] == VANISHED:
                    database.execute(
                        "INSERT OR REPLACE INTO files (path, size, stamp, state, first_seen) VALUES (?, ?, ?, ?, ?)",
                        (path, file.size, file.stamp, WAITING, now),
                    )
                elif same[0][2] == WAITING and now - same[0][3] >= settle:
                    ready.append(file)
            gone = [path for path, rows in known.items() if path not in there and any(r[2] == WAITING for r in rows)]
            database.executemany(
                "UPDATE files SET state = ?, decided_at = ?, note = ? WHERE path = ? AND state = ?",
                [(VANISHED, now, "gone before it could be taken", path, WAITING) for path in gone],
            )
        return ready

    def decide(
        self,
        file: SeenFile,
        state: str,
        now: float,
        *,
        md5: str | None = None,
        image_id: str | None = None,
        note: str | None = None,
    ) -> None:
        """Note what became of a file."""
        with self._open() as database:
            _decide(database, file, state, now, md5, image_id, note)

    def wait_again(self, file: SeenFile) -> None:
        """Forget a file that changed while it was being read: the next poll sees it anew."""
        with self._open() as database:
            database.execute(
                "DELETE FROM files WHERE (path, size, stamp) = (?, ?, ?)", (file.path, file.size, file.stamp)
            )

    def take(self, file: SeenFile, image_id: str, facts: Facts, looked_with: str, now: float) -> bool:
        """Note that a file's image was taken in; False, and noted as double, where its bytes were taken before.

        Args:
            looked_with: digest of the settings that the image was looked at with.
        """
        values = asdict(facts) | {"thumbnail": facts.thumbnail.tobytes(), "near_binary": int(facts.near_binary)}
        with self._open() as database:
            known = database.execute("SELECT image_id FROM images WHERE md5 = ?", (facts.md5,)).fetchone()
            if known is not None and known[0] != image_id:
                _decide(database, file, DOUBLE, now, facts.md5, known[0], f"the same bytes as {known[0]}")
                return False
            row = {"image_id": image_id, "taken_at": now, "looked_with": looked_with, **values}
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            database.execute(f"INSERT OR IGNORE INTO images ({names}) VALUES ({marks})", row)
            _decide(database, file, TAKEN, now, facts.md5, image_id, None)
        return True

    def known_image(self, md5: str) -> str | None:
        """The image with this content."""
        with self._open() as database:
            found = database.execute("SELECT image_id FROM images WHERE md5 = ?", (md5,)).fetchone()
        return None if found is None else str(found[0])

    def has_image(self, image_id: str) -> bool:
        with self._open() as database:
            return database.execute("SELECT 1 FROM images WHERE image_id = ?", (image_id,)).fetchone() is not None

    def files(self, state: str | None = None) -> pd.DataFrame:
        """Columns `path, size, stamp, state, first_seen, decided_at, md5, image_id, note`, by path; times in seconds
        since the epoch."""
        chosen = "" if state is None else "WHERE state = :state"
        query = f"SELECT {', '.join(_FILES)} FROM files {chosen} ORDER BY path, first_seen"
        with self._open() as database:
            rows = database.execute(query, {"state": state}).fetchall()
        return pd.DataFrame(rows, columns=list(_FILES), dtype=object)

    def counts(self) -> dict[str, int]:
        """Number of files by state."""
        with self._open() as database:
            return dict(database.execute("SELECT state, count(*) FROM files GROUP BY state"))

    def images(self) -> pd.DataFrame:
        """Columns `image_id, md5, taken_at, round, held_out, set_aside`, in the order in which they were taken; `round`
        and `held_out` are null before an image's first round, `set_aside` says why it is not trained on."""
        query = f"SELECT {', '.join(_IMAGES)} FROM images ORDER BY taken_at, image_id"
        with self._open() as database:
            rows = database.execute(query).fetchall()
        table = pd.DataFrame(rows, columns=list(_IMAGES), dtype=object)
        return table.astype({"round": "Int64", "held_out": "boolean", "taken_at": "float64"})

    def last_taken(self) -> float | None:
        """When the last image was taken, in seconds since the epoch; None: there is none."""
        with self._open() as database:
            found = database.execute("SELECT max(taken_at) FROM images").fetchone()[0]
        return None if found is None else float(found)

    def facts(self, image_ids: Iterable[str], looked_with: str) -> dict[str, Facts]:
        """What is known of images, of those that were looked at with these settings."""
        wanted = sorted(set(image_ids))
        columns = f"image_id, md5, thumbnail, {', '.join(_FACTS)}"
        rows: list[tuple[Any, ...]] = []
        with self._open() as database:
            for start in range(0, len(wanted), _AT_ONCE):  # of a long history only the window is read
                part = wanted[start : start + _AT_ONCE]
                query = (
                    f"SELECT {columns} FROM images WHERE looked_with = ? AND image_id IN ({', '.join('?' * len(part))})"
                )
                rows += database.execute(query, (looked_with, *part))
        return {
            image_id: Facts(
                md5=md5,
                thumbnail=np.frombuffer(thumbnail, dtype=np.uint8).reshape(THUMBNAIL, THUMBNAIL),
                **{name: bool(v) if name == "near_binary" else v for name, v in zip(_FACTS, values, strict=True)},
            )
            for image_id, md5, thumbnail, *values in rows
        }

    def look_again(self, image_id: str, facts: Facts, looked_with: str) -> None:
        """Replace what is known of an image: the settings that it is looked at with were changed."""
        values = {name: getattr(facts, name) for name in _FACTS}
        values |= {"thumbnail": facts.thumbnail.tobytes(), "looked_with": looked_with}
        with self._open() as database:
            database.execute(
                f"UPDATE images SET {', '.join(f'{name} = :{name}' for name in values)} WHERE image_id = :image_id",
                values | {"image_id": image_id},
            )

    def assign(self, held_out: Mapping[str, bool], number: int) -> None:
        """Note the first round of images and their side of the test split; to note it again changes nothing.

        Args:
            held_out: image_id → whether no detector is trained on it.
        """
        with self._open() as database:
            database.executemany(
                "UPDATE images SET round = ?, held_out = ? WHERE image_id = ? AND round IS NULL",
                [(number, int(held), image_id) for image_id, held in held_out.items()],
            )

    def set_aside(self, number: int, reason: str) -> int:
        """No longer train on the images that were new in round `number`; returns how many these are."""
        with self._open() as database:
            done = database.execute(
                "UPDATE images SET set_aside = ? WHERE round = ? AND set_aside IS NULL", (reason, number)
            )
            return done.rowcount

    @contextmanager
    def together(self) -> Iterator[None]:
        """Everything that is noted inside is one transaction: a flush to the disk per file is what costs."""
        with self._open() as database:
            self._within = database
            try:
                yield
            finally:
                self._within = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of what is done inside, or nothing."""
        if self._within is not None:
            yield self._within
            return
        database = sqlite3.connect(self._file, timeout=_SECONDS)
        try:
            with database:
                yield database
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self._file}: the ledger cannot be used ({error}).") from None
        finally:
            database.close()


def _decide(
    database: sqlite3.Connection,
    file: SeenFile,
    state: str,
    now: float,
    md5: str | None,
    image_id: str | None,
    note: str | None,
) -> None:
    database.execute(
        "INSERT INTO files (path, size, stamp, state, first_seen, decided_at, md5, image_id, note) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state, "
        "decided_at = excluded.decided_at, md5 = excluded.md5, image_id = excluded.image_id, note = excluded.note",
        (file.path, file.size, file.stamp, state, now, now, md5, image_id, note),
    )
