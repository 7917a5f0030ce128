"""Confirmed images of a service into a line's golden set: by command alone, each on record before it is there."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from irp_core.atomic import atomic_path
from irp_core.data.layouts.names import Good, is_mask_folder, split_of
from irp_core.data.walk import walk
from irp_core.errors import InputError
from irp_core.features.image_formats import FORMATS
from irp_core.hashing import file_md5
from irp_core.packed.layout import is_packed
from irp_core.refinement.reviews import REMOVED_BY_REVIEW
from irp_core.text.spreadsheet import escaped
from tasks.feedback.answers import Feedback

__all__ = ["GOLDEN_RECORD", "TakenIn", "take_into_golden"]

GOLDEN_RECORD = (
    "at",
    "by",
    "why",
    "file",
    "md5",
    "label",
    "answered_by",
    "answered_at",
    "kept_by",
    "score",
    "threshold",
)
"""The columns of the record: a row per image that was taken into the golden set."""
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")
_ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}


@dataclass(frozen=True)
class TakenIn:
    """What was done.

    Attributes:
        files: that are new in the golden set.
        there: images that it had already, by name or md5.
    """

    files: tuple[Path, ...]
    there: tuple[str, ...]


def take_into_golden(
    feedback: Feedback,
    golden: Path,
    record: Path,
    *,
    by: str,
    why: str,
    chosen: Sequence[str] = (),
    kind: str = "defective",
    good: bool = False,
    good_names: Collection[str] = ("good",),
) -> TakenIn:
    """Copy kept images that a person answered for into a golden set, byte for byte. None that it holds is copied again.

    Args:
        golden: the line's golden folder: a sub-folder for good images, one per kind of defect.
        record: CSV of `GOLDEN_RECORD`; a row is written before its image.
        by, why: who takes them in, and the reason.
        chosen: beginnings of md5s; empty: all that were answered.
        kind: sub-folder of the defects.
        good: those that were called good, too, into the folder of good images.
        good_names: what folders of good images are called (`dataset.good_names`).

    Raises:
        InputError: no such folder, a packed one, an md5 that is not kept or not answered, a kind that is no name of a
            defect's folder, or an image whose file was changed since it was kept.
    """
    if not golden.is_dir():
        raise InputError(f"{golden}: expected the line's golden set, found no folder.")
    if is_packed(golden):
        raise InputError(
            f"{golden}: expected a golden set that is a folder of images, found a packed one; name the folder it was "
            f"packed from."
        )
    names = Good(good_names)
    if not _KIND.fullmatch(kind) or names(kind) or is_mask_folder(kind) or split_of(kind):
        raise InputError(f"--kind must be the name of a folder of defects: letters, digits, - and _. Got {kind!r}.")
    if not by.strip() or not why.strip():
        raise InputError("The golden set takes nothing in without a name and a reason (--by, --why).")
    good_folder = next((folder.name for folder in sorted(golden.iterdir()) if names(folder.name)), "good")
    said = feedback.said()
    known = {file_md5(golden / file) for file in walk(golden).images}
    files, there = [], []
    for row in _wanted(feedback.kept.rows(), said, chosen, good):
        md5, answer = row["md5"], said[row["md5"]]
        if md5 in known:
            there.append(row["name"] or md5)
            continue
        defective = answer["decision"] == REMOVED_BY_REVIEW
        content = _content(feedback.kept.image(md5), md5)
        target = golden / (kind if defective else good_folder) / _name(row["name"], md5, content)
        noted = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": by.strip(),
            "why": why.strip(),
            "file": target.as_posix(),
            "md5": md5,
            "label": "defective" if defective else "good",
            "answered_by": answer["reviewer"],
            "answered_at": answer["reviewed_at"],
            "kept_by": row["model"],
            "score": row["score"],
            "threshold": row["threshold"],
        }
        _note(record, noted)
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)
        files.append(target)
    return TakenIn(tuple(files), tuple(there))


def _wanted(
    rows: list[dict[str, Any]], said: dict[str, dict[str, Any]], chosen: Sequence[str], good: bool
) -> list[dict[str, Any]]:
    """The kept images that are meant, the oldest first."""
    answered = [row for row in reversed(rows) if row["md5"] in said]
    for name in chosen:
        meant = [row["md5"] for row in rows if row["md5"].startswith(name.lower())]
        if len(meant) != 1:
            raise InputError(
                f"{name}: expected the md5 of one kept image, or its beginning, found {len(meant)} of them."
            )
        if meant[0] not in said:
            raise InputError(f"{name}: nobody answered for this image; `irp review` asks.")
        if said[meant[0]]["decision"] != REMOVED_BY_REVIEW and not good:
            raise InputError(f"{name}: this image was called good; --good takes good ones in, too.")
    if chosen:
        answered = [row for row in answered if any(row["md5"].startswith(name.lower()) for name in chosen)]
    return [row for row in answered if good or said[row["md5"]]["decision"] == REMOVED_BY_REVIEW]


def _content(file: Path, md5: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise InputError(f"{file}: was changed since it was kept (expected md5 {md5}).")
    return content


def _name(name: str | None, md5: str, content: bytes) -> str:
    """A file's name that nothing else in the set has: what the image was called, and the beginning of its md5."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        ending = _ENDINGS[str(image.format)]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name or "kept").stem)[:80].strip("_") or "kept"
    return f"{stem}-{md5[:12]}{ending}"


def _note(record: Path, row: dict[str, Any]) -> None:
    new = escaped(pd.DataFrame([row], columns=list(GOLDEN_RECORD)))
    before = [pd.read_csv(record, dtype=str, keep_default_na=False)] if record.exists() else []
    if any(((table["md5"] == row["md5"]) & (table["file"] == row["file"])).any() for table in before):
        return  # a kill came between the row and its image
    with atomic_path(record) as temporary:
        pd.concat([*before, new], ignore_index=True).to_csv(temporary, index=False, lineterminator="\n")
