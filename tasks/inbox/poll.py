"""One poll of an inbox: what is new and complete becomes the line's own; everything else is named and waits."""

from __future__ import annotations

import errno
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

from filelock import FileLock

from irp_core.config import Images, Params, digest
from irp_core.config.lines import Line
from irp_core.data.look import Facts, Unreadable, look
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import DOUBLE, TAKEN, UNREADABLE, VANISHED, Ledger, SeenFile
from tasks.inbox.mending import mended_ledger
from tasks.inbox.places import Place, open_place

__all__ = ["Poll", "look_key", "poll", "poll_until_settled", "whole_ledger"]

_LOCK_SECONDS = 3600  # a first poll may take in many thousand images
_OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_TOGETHER = 64  # files whose entries are one transaction


@dataclass(frozen=True)
class Poll:
    """What one poll found.

    Attributes:
        taken: images that were taken in.
        waiting: files that may still be written: the next poll takes them if they are the same.
        ignored: files that are no images by their names.
        problems: (path, what is wrong with it), of files that will not be taken.
    """

    taken: int
    waiting: int
    ignored: int
    problems: list[tuple[str, str]]


def poll(
    line: Line, params: Params, *, now: float | None = None, progress: Callable[[int, int], None] | None = None
) -> Poll:
    """List the inbox, and take in what has not changed since an earlier poll.

    Args:
        params: the line's parameters: how images are read.
        now: seconds since the epoch, of a test.

    Raises:
        InputError: no such folder or file system.
        OSError: the inbox does not answer.
    """
    folder = LineFolder(line.name).make()
    place = open_place(line.inbox, line.taking.options)
    with FileLock(folder.inbox_lock, timeout=_LOCK_SECONDS):
        shutil.rmtree(folder.incoming, ignore_errors=True)
        folder.incoming.mkdir()
        workers, key = params.features.workers, look_key(params.images)
        ledger = mended_ledger(folder, params.images, key, workers)
        at = time.time() if now is None else now
        listing = place.list()
        ledger.note_unusable(listing.unusable, at)
        ready = ledger.observe(listing.files, at, settle=line.taking.settle)
        if ready:  # whether an image is new is asked of the ledger's index
            ledger = mended_ledger(folder, params.images, key, workers, thorough=True)
        taking = _Taking(line, params.images, place, folder, ledger, at)
        taken, problems = taking.all(ready, workers, progress)
        waiting = len(ledger.files("waiting"))
    return Poll(taken, waiting, listing.ignored, [*listing.unusable.items(), *problems])


def poll_until_settled(
    line: Line, params: Params, *, progress: Callable[[int, int], None] | None = None, most: int = 3
) -> Poll:
    """Poll, wait `taking.settle` seconds where files were seen for the first time, and poll again.

    Files that are still being written after `most` polls are left to the next round.
    """
    taken = 0
    problems: list[tuple[str, str]] = []
    for attempt in range(most):
        found = poll(line, params, progress=progress)
        taken += found.taken
        problems += [problem for problem in found.problems if problem not in problems]
        if not found.waiting or attempt == most - 1:
            break
        time.sleep(line.taking.settle)
    return Poll(taken, found.waiting, found.ignored, problems)


def whole_ledger(line: Line, params: Params) -> Ledger:
    """The line's ledger outside a poll; what of it was damaged or lost is made again."""
    folder = LineFolder(line.name).make()
    with FileLock(folder.inbox_lock, timeout=_LOCK_SECONDS):
        return mended_ledger(folder, params.images, look_key(params.images), params.features.workers)


def look_key(images: Images) -> str:
    """Digest of what an image is looked at with."""
    return digest("look", images.set_keys())


@dataclass(frozen=True)
class _Fetched:
    """A file's content in the line's folder, and what is to be seen in it; or why it could not be brought there."""

    path: Path
    seen: Facts | Unreadable | OSError


@dataclass(frozen=True)
class _Taking:
    """Taking in the files of one poll."""

    line: Line
    images: Images
    place: Place
    folder: LineFolder
    ledger: Ledger
    now: float

    def all(
        self, files: Iterable[SeenFile], workers: int, progress: Callable[[int, int], None] | None
    ) -> tuple[int, list[tuple[str, str]]]:
        """Take in files; returns how many became images, and what is wrong with the others."""
        todo = list(files)
        taken = 0
        problems: list[tuple[str, str]] = []
        with ThreadPoolExecutor(workers) as pool:  # fetches and decodes; the ledger is written by one
            fetched = pool.map(self._fetch, todo)
            for start in range(0, len(todo), _TOGETHER):
                with self.ledger.together():
                    for file in todo[start : start + _TOGETHER]:
                        entered, problem = self._enter(file, next(fetched))
                        taken += entered
                        if problem:
                            problems.append((file.path, problem))
                if progress:
                    progress(min(start + _TOGETHER, len(todo)), len(todo))
        return taken, problems

    def _fetch(self, file: SeenFile) -> _Fetched:
        """Bring the file into the line's folder, and look at it."""
        target = self.folder.incoming / uuid.uuid4().hex
        try:
            self.place.fetch(file.path, target, self.line.taking.take)
        except OSError as error:
            target.unlink(missing_ok=True)
            return _Fetched(target, error)
        return _Fetched(target, look(target, self.images))

    def _enter(self, file: SeenFile, fetched: _Fetched) -> tuple[bool, str | None]:
        """Enter a file in the ledger; returns whether it became an image, and what is wrong with it."""
        try:
            return self._judge(file, fetched.path, fetched.seen)
        finally:
            fetched.path.unlink(missing_ok=True)

    def _judge(self, file: SeenFile, fetched: Path, seen: Facts | Unreadable | OSError) -> tuple[bool, str | None]:
        now_there = self.place.stamp(file.path)
        if now_there is None:
            note = "gone before it could be taken"
            self.ledger.decide(file, VANISHED, self.now, note=note)
            return False, note
        if now_there != file:
            self.ledger.wait_again(file)
            return False, "changed while it was being read; a later poll takes it"
        if isinstance(seen, OSError):  # of the share, or of this machine: nothing is known of the image
            if seen.errno in _OF_THIS_DISK:
                raise seen
            return False, f"cannot be read: {seen.strerror or seen}; a later poll tries again"
        if isinstance(seen, Unreadable):
            self.ledger.decide(file, UNREADABLE, self.now, note=seen.reason)
            return False, seen.reason
        if known := self.ledger.known_image(seen.md5):
            if known.partition("/")[2] == file.path:  # of a ledger that was made again: it is that image's own file
                self.ledger.decide(file, TAKEN, self.now, md5=seen.md5, image_id=known)
                return False, None
            note = f"the same bytes as {known}"
            self.ledger.decide(file, DOUBLE, self.now, md5=seen.md5, image_id=known, note=note)
            return False, note
        image_id = self._name(file, seen.md5)
        target = self.folder.images / image_id
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched.replace(target)
        return self.ledger.take(file, image_id, seen, look_key(self.images), self.now), None

    def _name(self, file: SeenFile, md5: str) -> str:
        """The image's name in the line: the day it was taken, then its path in the inbox. A day comes first, so that no
        folder of the inbox is taken for a label (`good`) or for masks' own."""
        day = datetime.fromtimestamp(self.now, ZoneInfo(self.line.timezone)).date().isoformat()
        path = PurePosixPath(file.path)
        if self.ledger.has_image(f"{day}/{path}"):  # another content under the same name
            path = path.with_name(f"{path.stem}~{md5[:8]}{path.suffix}")
        return f"{day}/{path}"
