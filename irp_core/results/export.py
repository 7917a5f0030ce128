"""What a user takes away: the kept images as a plain folder, and two lists, who stayed and who went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from irp_core.atomic import atomic_directory, write_json
from irp_core.data.manifest import set_digest
from irp_core.data.own_output import MARKER
from irp_core.errors import InputError
from irp_core.hashing import file_md5
from irp_core.packed.images import copy_image, image_md5, is_image
from irp_core.regular_file import leads_outside
from irp_core.removals import REMOVED

__all__ = ["IMAGES_FOLDER", "KEPT_LIST", "NOTE", "REMOVED_LIST", "Exported", "How", "export_set", "split_states"]

How = Literal["copy", "link", "lists"]
"""Copies of the kept images, symbolic links to them, or the two lists alone."""

IMAGES_FOLDER = "images"
KEPT_LIST = "kept.csv"
REMOVED_LIST = "removed.csv"
NOTE = "export.json"
# `label` and `injected` are for evaluation: they stay out of what others train on.
_COLUMNS = [
    "image_id", "path", "md5", "state", "decided_by", "since_round", "trained_on", "score", "threshold", "rule",
    "reviewed_at", "note",
]  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """How many images an export kept and removed, and how many of them a review decided after the last training."""

    folder: Path
    kept: int
    removed: int
    decided_later: int


def split_states(images: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The kept and the removed rows of a final-state table, the removed ones by falling score.

    Example:
        >>> states = pd.DataFrame({"image_id": ["a", "b", "c"], "state": ["kept", "removed", "restored"], "score": 1.0})
        >>> kept, removed = split_states(states)
        >>> kept["image_id"].tolist(), removed["image_id"].tolist()
        (['a', 'c'], ['b'])
    """
    gone = images["state"] == REMOVED
    removed = images[gone].sort_values("score", ascending=False, kind="stable")
    return images[~gone].reset_index(drop=True), removed.reset_index(drop=True)


def export_set(
    images: pd.DataFrame,
    root: Path,
    to: Path,
    *,
    how: How,
    about: Mapping[str, Any],
    elsewhere: Callable[[list[str]], Mapping[str, Path]],
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the folder `to`, whole or not at all.

    It holds `kept.csv` and `removed.csv` (a row per image; `path` is where the original lies), `export.json` and,
    unless `how` is `lists`, `images/` with every kept image under its `image_id`. An image is taken from the data
    set's folder if it is still the one that the run read, else from elsewhere. The originals are only read.

    Args:
        images: the final state of every training image (`irp_core.removals.IMAGE_SCHEMA`).
        root: the data set's folder.
        how: copies, symbolic links, or the lists alone.
        about: what `export.json` says of the origin.
        elsewhere: md5s that the data set's folder lacks → where they are; raises InputError for those it cannot find.
        progress: called with (images done, images in all).

    Raises:
        InputError: `to` holds something, or lies inside the data set; an image is nowhere to be had.
    """
    _check_target(to, root)
    kept, removed = split_states(images)
    kept, removed = (table.assign(path=[str(root / name) for name in table["image_id"]]) for table in (kept, removed))
    if how != "lists":
        kept["path"] = _sources(kept, root, elsewhere)
    note = {
        **about,
        "data_root": str(root),
        "images": how,
        "kept": len(kept),
        "removed": len(removed),
        "set_sha256": set_digest(kept),
    }
    with atomic_directory(to) as folder:
        (folder / MARKER).touch()
        kept.reindex(columns=_COLUMNS).to_csv(folder / KEPT_LIST, index=False)
        removed.reindex(columns=_COLUMNS).to_csv(folder / REMOVED_LIST, index=False)
        write_json(folder / NOTE, note)
        for done, row in enumerate(kept.itertuples() if how != "lists" else (), start=1):
            _place(Path(row.path), folder / IMAGES_FOLDER, row.image_id, row.md5, how)
            if progress:
                progress(done, len(kept))
    later = int((kept["trained_on"] == False).sum() + removed["trained_on"].sum())  # noqa: E712
    return Exported(to, len(kept), len(removed), later)


def _check_target(to: Path, root: Path) -> None:
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise InputError(f"{to}: expected a folder that does not exist or is empty, found something there.")
    if to.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{to}: expected a folder outside the data set {root}, found one inside it.")


def _sources(kept: pd.DataFrame, root: Path, elsewhere: Callable[[list[str]], Mapping[str, Path]]) -> list[str]:
    """Where each kept image lies: its original, if that is unchanged, else what `elsewhere` finds."""
    found: dict[str, Path] = {}
    for image_id, md5 in zip(kept["image_id"], kept["md5"], strict=True):
        if leads_outside(image_id):
            raise InputError(f"{image_id}: expected an image's path below the data set's folder, found another.")
        original = root / image_id
        if md5 not in found and is_image(original) and image_md5(original) == md5:
            found[md5] = original.resolve()
    missing = [md5 for md5 in kept["md5"].unique() if md5 not in found]
    if missing:
        first = kept.loc[kept["md5"] == missing[0], "image_id"].iloc[0]
        try:
            found.update(elsewhere(missing))
        except InputError as error:
            raise InputError(
                f"{root / first}: expected the image that the run read (md5 {missing[0]}); it is gone or changed, as "
                f"are {len(missing) - 1} more, and DVC does not have it ({error})"
            ) from None
    return [str(found[md5]) for md5 in kept["md5"]]


def _place(source: Path, folder: Path, name: str, md5: str, how: How) -> None:
    # What lies in a shard cannot be linked to: it is copied.
    target = copy_image(source, folder, name, link=how == "link")
    if how == "link":
        return
    if (found := file_md5(target)) != md5:  # changed while this went on
        raise InputError(f"{source}: expected the image that the run read (md5 {md5}), found md5 {found}.")
