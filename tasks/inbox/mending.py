"""What of a line was damaged is made again, and said: the ledger from its intact rows, the line's images and the
records of its rounds; a round by beginning it again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from irp_core.config import Images
from irp_core.data.look import Facts, look
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import TAKEN, Ledger
from irp_core.line.ledger_file import DamagedLedger, salvage
from irp_core.line.rounds import LineRound, rounds_of

__all__ = ["mended_ledger", "put_away"]

_LOG = logging.getLogger(__name__)


def mended_ledger(folder: LineFolder, images: Images, key: str, workers: int, *, thorough: bool = False) -> Ledger:
    """The ledger of a line, as it should be; whoever calls holds the inbox' lock.

    An image whose file is gone, too, is forgotten: it is taken in again where it comes again.

    Args:
        key: digest of what images are looked at with (`tasks.inbox.poll.look_key`).
        thorough: see `Ledger.damage`.
    """
    lost = not folder.ledger.exists() and any(_own_images(folder))
    damage = f"{folder.ledger}: is gone" if lost else _damage(folder, thorough)
    if damage is None:
        return Ledger(folder.ledger)
    if not lost:
        salvage(folder.ledger)
    ledger = Ledger(folder.ledger)
    kept = len(ledger.images())
    added = _make_again(ledger, folder, images, key, workers)
    _LOG.warning("%s. It was made again: %d images as they were noted, %d from their files.", damage, kept, added)
    return ledger


def _damage(folder: LineFolder, thorough: bool) -> str | None:
    try:
        return Ledger(folder.ledger).damage(thorough=thorough)
    except DamagedLedger as error:
        return error.what


def _own_images(folder: LineFolder) -> Iterator[Path]:
    return (file for file in sorted(folder.images.rglob("*")) if file.is_file())


def _make_again(ledger: Ledger, folder: LineFolder, images: Images, key: str, workers: int) -> int:
    """Enter the line's own images that the ledger does not know; returns how many."""
    known = set(ledger.images()["image_id"])
    taken = ledger.files(TAKEN).set_index("image_id")["decided_at"].to_dict()
    unknown = [file for file in _own_images(folder) if file.relative_to(folder.images).as_posix() not in known]
    added = 0
    with ThreadPoolExecutor(workers) as pool, ledger.together():
        for file, seen in zip(unknown, pool.map(lambda file: look(file, images), unknown), strict=True):
            name = file.relative_to(folder.images).as_posix()
            if isinstance(seen, Facts):
                at = taken.get(name, file.stat().st_mtime)
                added += ledger.enter(name, seen, key, at)
            else:
                _LOG.warning("%s: %s", file, seen.reason)
    for this in rounds_of(folder):
        with suppress(InputError):  # of a round that was damaged itself
            record = this.record()
            ledger.assign({name: out for name, out in record["new"].items() if name not in known}, this.number)
            if reason := record.get("set_aside"):
                ledger.set_aside(this.number, reason)
    return added


def put_away(this: LineRound, damage: str, ledger: Ledger) -> None:
    """Let a round that was damaged begin again under its number, with the images that were new in it.

    Its run is found again where the images are the same: nothing is trained twice.
    """
    aside = this.path.with_name(f"damaged-{this.path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    this.path.rename(aside)
    images = ledger.begin_again(this.number)
    _LOG.warning("%s. Round %d begins again with its %d new images.", damage, this.number, images)
