"""What of a line was damaged is made again, and said: the ledger from its intact rows, the line's images and the
records of its rounds; a round by beginning it again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from irp_core.atomic import atomic_path
from irp_core.config import Images
from irp_core.data.look import Facts, look
from irp_core.errors import InputError
from irp_core.hashing import file_md5
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import TAKEN, Ledger
from irp_core.line.ledger_file import DamagedLedger, salvage
from irp_core.line.rounds import LineRound, rounds_of
from tasks.versions.snapshots import cached_file

__all__ = ["lost_images", "mended_ledger", "put_away"]

_LOG = logging.getLogger(__name__)


def mended_ledger(folder: LineFolder, images: Images, key: str, workers: int, *, thorough: bool = False) -> Ledger:
    """The ledger of a line, as it should be; whoever calls holds the inbox' lock.

    It is made again beside the damaged one and takes its place when all is in it: until then a kill changes nothing.
    An image whose file is gone, too, is forgotten: it is taken in again where it comes again.

    Args:
        key: digest of what images are looked at with (`tasks.inbox.poll.look_key`).
        thorough: see `Ledger.damage`.
    """
    damage = _damage(folder, thorough)
    rows_are_left = damage is not None
    if damage is None and _is_empty(Ledger(folder.ledger)) and any(_own_images(folder)):
        # It was lost: whoever opens it then makes an empty one. Of a first poll that was killed it has the files.
        damage = f"{folder.ledger}: has none of the line's images"
    if damage is None:
        return Ledger(folder.ledger)
    for left in folder.path.glob(f".{folder.ledger.name}.*-journal"):  # of one that was killed while it was made
        left.unlink()
    with atomic_path(folder.ledger) as temporary:
        if rows_are_left:
            salvage(folder.ledger, temporary)
        ledger = Ledger(temporary)
        kept = len(ledger.images())
        added = _make_again(ledger, folder, images, key, workers)
        folder.ledger.with_name(f"{folder.ledger.name}-journal").unlink(missing_ok=True)  # of the damaged one
    _LOG.warning("%s. It was made again: %d images as they were noted, %d from their files.", damage, kept, added)
    return Ledger(folder.ledger)


def _damage(folder: LineFolder, thorough: bool) -> str | None:
    try:
        return Ledger(folder.ledger).damage(thorough=thorough)
    except DamagedLedger as error:
        return error.what


def _is_empty(ledger: Ledger) -> bool:
    return ledger.last_taken() is None and not ledger.counts()


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
        for this in rounds_of(folder):  # within the transaction: images without their rounds would look new
            with suppress(InputError):  # of a round that was damaged itself
                record = this.record()
                ledger.assign({name: out for name, out in record["new"].items() if name not in known}, this.number)
                if reason := record.get("set_aside"):
                    ledger.set_aside(this.number, reason)
    return added


def lost_images(this: LineRound, folder: LineFolder) -> list[str]:
    """The images of a round that are not as they were taken in: from DVC's cache they are had again; what it lacks
    is put out of the way, and returned. It reads all of them.
    """
    manifest = this.prepared.manifest()
    lost = []
    for name, md5 in manifest.loc[manifest["split"] != "unused", ["image_id", "md5"]].itertuples(index=False):
        file = folder.images / name
        if file.is_file() and file_md5(file) == md5:
            continue
        cached = cached_file(md5)
        if cached is not None and file_md5(cached) == md5:
            with atomic_path(file) as temporary:
                shutil.copyfile(cached, temporary)
            _LOG.warning("%s: was changed or gone; it was had again from DVC's cache.", file)
            continue
        if file.is_file():
            aside = folder.damaged / name
            aside.parent.mkdir(parents=True, exist_ok=True)
            file.replace(aside)
        lost.append(name)
    return lost


def put_away(this: LineRound, damage: str, ledger: Ledger) -> None:
    """Let a round that was damaged begin again under its number, with the images that were new in it.

    Its run is found again where the images are the same: nothing is trained twice.
    """
    # The ledger first: after a kill the damaged round is still there, and all of this is done again.
    images = ledger.begin_again(this.number)
    aside = this.path.with_name(f"damaged-{this.path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    this.path.rename(aside)
    _LOG.warning("%s. Round %d begins again; %d images are new in it.", damage, this.number, images)
