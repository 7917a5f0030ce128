"""The ledger of an inbox: which file was seen when, what was taken of it, and what is known of each image.

A SQLite file: a poll of a thousand files is one transaction, and a kill leaves the last one that was complete.

A file counts once it is the same at two polls, `settle` seconds apart; by then it is `waiting`. What becomes of it is

- `taken`: its image is the line's own;
- `double`: its bytes are those of an image that was taken before;
- `unreadable`: no image of those that are read, with the reason; it is looked at again when it changes;
- `vanished`: it was gone before it could be taken;
- `unusable`: by its name or its kind it can be no image of the line; noted for as long as it lies there.

A file that changes after that is a new row: what was taken stays.

Every row has a digest (`irp_core.line.ledger_file`): one that was damaged is used by nobody.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from irp_core.data.look import THUMBNAIL, Facts
from irp_core.line.ledger_file import (
    FACTS,
    FILES,
    IMAGES,
    OF_FILE,
    SEEN,
    DamagedLedger,
    SeenFile,
    connect,
    decide_file,
    enter_image,
    failure,
    is_intact,
    is_sound,
    make_tables,
    seal,
)

__all__ = ["DOUBLE", "TAKEN", "UNREADABLE", "UNUSABLE", "VANISHED", "WAITING", "Ledger", "SeenFile"]

WAITING, TAKEN, DOUBLE, UNREADABLE, VANISHED = "waiting", "taken", "double", "unreadable", "vanished"
UNUSABLE = "unusable"
_AT_ONCE = 500  # images per query


class Ledger:
    """The ledger in a file, which is made where there is none.

    Raises:
        DamagedLedger: the file is no ledger.

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
            make_tables(database)

    def damage(self, *, thorough: bool = False) -> str | None:
        """What of the ledger is not as it was written; None where all is.

        Args:
            thorough: ask SQLite about its pages and indices besides, which reads all of the file.
        """
        try:
            self.files()
            self.images()
            with self._open() as database:
                database.execute(f"SELECT {', '.join(SEEN)}, seen_digest FROM images LIMIT 1")  # whether they are there
                return f"{self._file}: its pages were damaged" if thorough and not is_sound(database) else None
        except DamagedLedger as error:
            return error.what

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
            seen: list[dict[str, Any]] = []
            for path, file in there.items():
                rows = known.get(path, [])
                same = [row for row in rows if row[:2] == (file.size, file.stamp)]
                for size, stamp, state, _ in rows:
                    if state == WAITING and (size, stamp) != (file.size, file.stamp):  # still being written
                        database.execute("DELETE FROM files WHERE (path, size, stamp) = (?, ?, ?)", (path, size, stamp))
                future = bool(same) and same[0][2] == WAITING and same[0][3] > now  # the clock was put back
                if not same or same[0][2] == VANISHED or future:
                    database.execute(
                        "INSERT OR REPLACE INTO files (path, size, stamp, state, first_seen) VALUES (?, ?, ?, ?, ?)",
                        (path, file.size, file.stamp, WAITING, now),
                    )
                    seen.append(asdict(file))
                elif same[0][2] == WAITING and now - same[0][3] >= settle:
                    ready.append(file)
            gone = [path for path, rows in known.items() if path not in there and any(r[2] == WAITING for r in rows)]
            database.executemany(
                "UPDATE files SET state = ?, decided_at = ?, note = ? WHERE path = ? AND state = ?",
                [(VANISHED, now, "gone before it could be taken", path, WAITING) for path in gone],
            )
            seal(database, FILES, OF_FILE, seen)
            seal(database, FILES, "path = :path AND state = :state", [{"path": p, "state": VANISHED} for p in gone])
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
            decide_file(database, file, state, now, md5, image_id, note)

    def note_unusable(self, found: Mapping[str, str], now: float) -> None:
        """Note what lies in the inbox and cannot be used, instead of what did before.

        Args:
            found: name as it can be shown → why.
        """
        known = self.files(UNUSABLE).set_index("path")["note"].to_dict()
        with self._open() as database:
            for name in known.keys() - found.keys():
                database.execute("DELETE FROM files WHERE path = ? AND state = ?", (name, UNUSABLE))
            for name in found.keys() - known.keys():
                decide_file(database, SeenFile(name, 0, UNUSABLE), UNUSABLE, now, None, None, found[name])

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
        with self._open() as database:
            known = database.execute("SELECT image_id FROM images WHERE md5 = ?", (facts.md5,)).fetchone()
            if known is not None and known[0] != image_id:
                decide_file(database, file, DOUBLE, now, facts.md5, known[0], f"the same bytes as {known[0]}")
                return False
            enter_image(database, image_id, facts, looked_with, now)
            decide_file(database, file, TAKEN, now, facts.md5, image_id, None)
        return True

    def enter(self, image_id: str, facts: Facts, looked_with: str, now: float) -> bool:
        """Note an image that the line has; False where its name or its content is known."""
        with self._open() as database:
            return enter_image(database, image_id, facts, looked_with, now)

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
        since the epoch. Of a state its own rows alone are held against their digests; `damage` is asked about all."""
        where, values = ("", ()) if state is None else ("WHERE state = ?", (state,))
        query = f"SELECT {', '.join(FILES)}, digest FROM files {where} ORDER BY path, first_seen"
        with self._open() as database:
            rows = database.execute(query, values).fetchall()
        return pd.DataFrame(self._intact(rows), columns=list(FILES), dtype=object)

    def counts(self) -> dict[str, int]:
        """Number of files by state."""
        return dict(Counter(self.files()["state"]))

    def images(self) -> pd.DataFrame:
        """Columns `image_id, md5, taken_at, round, held_out, set_aside`, in the order in which they were taken; `round`
        and `held_out` are null before an image's first round, `set_aside` says why it is not trained on."""
        query = f"SELECT {', '.join(IMAGES)}, digest FROM images ORDER BY taken_at, image_id"
        with self._open() as database:
            rows = database.execute(query).fetchall()
        table = pd.DataFrame(self._intact(rows), columns=list(IMAGES), dtype=object)
        return table.astype({"round": "Int64", "held_out": "boolean", "taken_at": "float64"})

    def last_taken(self) -> float | None:
        """When the last image was taken, in seconds since the epoch; None: there is none."""
        query = f"SELECT {', '.join(IMAGES)}, digest FROM images ORDER BY taken_at DESC LIMIT 1"
        with self._open() as database:
            rows = database.execute(query).fetchall()
        return float(self._intact(rows)[0][IMAGES.index("taken_at")]) if rows else None

    def facts(self, image_ids: Iterable[str], looked_with: str) -> dict[str, Facts]:
        """What is known of images, of those that were looked at with these settings, and whose entry is as it was
        written."""
        wanted = sorted(set(image_ids))
        columns = f"{', '.join(SEEN)}, seen_digest"
        rows: list[tuple[Any, ...]] = []
        with self._open() as database:
            for start in range(0, len(wanted), _AT_ONCE):  # of a long history only the window is read
                part = wanted[start : start + _AT_ONCE]
                query = (
                    f"SELECT {columns} FROM images WHERE looked_with = ? AND image_id IN ({', '.join('?' * len(part))})"
                )
                rows += database.execute(query, (looked_with, *part))
        seen = [dict(zip(SEEN, row, strict=False)) for row in rows if is_intact(row)]
        return {
            one["image_id"]: Facts(
                md5=one["md5"],
                thumbnail=np.frombuffer(one["thumbnail"], dtype=np.uint8).reshape(THUMBNAIL, THUMBNAIL),
                **{name: bool(one[name]) if name == "near_binary" else one[name] for name in FACTS},
            )
            for one in seen
        }

    def look_again(self, image_id: str, facts: Facts, looked_with: str) -> None:
        """Replace what is known of an image: the settings that it is looked at with were changed."""
        values = {name: getattr(facts, name) for name in FACTS}
        values |= {"thumbnail": facts.thumbnail.tobytes(), "looked_with": looked_with}
        with self._open() as database:
            database.execute(
                f"UPDATE images SET {', '.join(f'{name} = :{name}' for name in values)} WHERE image_id = :image_id",
                values | {"image_id": image_id},
            )
            seal(database, SEEN, "image_id = :image_id", [{"image_id": image_id}])

    def assign(self, held_out: Mapping[str, bool], number: int) -> None:
        """Note the first round of images and their side of the test split; to note it again changes nothing.

        Args:
            held_out: image_id → whether no detector is trained on it.
        """
        self._update(
            "round IS NULL", {"round": number}, {name: {"held_out": int(out)} for name, out in held_out.items()}
        )

    def set_aside(self, number: int, reason: str) -> int:
        """No longer train on the images that were new in round `number`; returns how many these are."""
        return self._update(f"round = {number:d} AND set_aside IS NULL", {"set_aside": reason})

    def begin_again(self, number: int) -> int:
        """Make the images of round `number` new ones; returns how many these are."""
        return self._update(f"round = {number:d}", {"round": None, "held_out": None})

    def _update(
        self, where: str, values: Mapping[str, Any], of_each: Mapping[str, Mapping[str, Any]] | None = None
    ) -> int:
        """Change images whose entry is as it was written: the digest of another would hide what was damaged. Returns
        how many.

        Args:
            of_each: image_id → its own values; no other image is changed.
        """
        with self._open() as database:
            rows = database.execute(f"SELECT {', '.join(IMAGES)}, digest FROM images WHERE {where}").fetchall()
            names = [row[0] for row in rows if is_intact(row) and (of_each is None or row[0] in of_each)]
            changed = [{"image_id": name, **values, **(of_each or {}).get(name, {})} for name in names]
            if changed:
                columns = ", ".join(f"{name} = :{name}" for name in changed[0] if name != "image_id")
                database.executemany(f"UPDATE images SET {columns} WHERE image_id = :image_id", changed)
                seal(database, IMAGES, "image_id = :image_id", changed)
        return len(changed)

    def _intact(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Rows without their digests.

        Raises:
            DamagedLedger: one is not as it was written.
        """
        damaged = [row[0] for row in rows if not is_intact(row)]
        if damaged:
            what = repr(damaged[0]) + (f" and {len(damaged) - 1} more" if len(damaged) > 1 else "")
            raise DamagedLedger(f"{self._file}: the entry of {what} was damaged")
        return [row[:-1] for row in rows]

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
        database = connect(self._file)
        try:
            with database:
                yield database
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of a message about damaged names
            raise failure(self._file, error) from error
        finally:
            database.close()
