"""What a round trains on: the new images and as much of the history as the line keeps, without the golden ones.

Made from what the ledger knows: no file of an earlier round is read again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.data.companions import companions
from irp_core.data.contamination import contaminate
from irp_core.data.copies.of_set import copies_of_set
from irp_core.data.copies.thumbnails import Thumbnails
from irp_core.data.look import Facts
from irp_core.data.manifest import MANIFEST_SCHEMA
from irp_core.data.schemas import IGNORED_SCHEMA, NOTES_SCHEMA, QUARANTINE_SCHEMA
from irp_core.data.set_notes import set_notes

__all__ = ["Selection", "due", "in_window", "select"]


@dataclass(frozen=True)
class Selection:
    """The images of a round, as tables of a prepared set.

    Attributes:
        new: image_id → whether it is held out from training, of the images that no round had before.
    """

    manifest: pd.DataFrame
    near_copies: pd.DataFrame
    quarantine: pd.DataFrame
    ignored: pd.DataFrame
    notes: pd.DataFrame
    new: dict[str, bool]


def due(images: pd.DataFrame, line: Line, now: float, decisions: int = 0) -> str | None:
    """Why a round is due now, as the middle of a sentence; None where none is.

    Args:
        images: the ledger's images.
        now: seconds since the epoch.
        decisions: number of reviewers' decisions that the last round did not know.

    Example:
        >>> images = pd.DataFrame({"round": pd.array([1, None], "Int64"), "set_aside": None, "taken_at": [0.0, 9.0]})
        >>> due(images, Line(name="line3", inbox="in", min_new=1), now=10.0)
        '1 new image (a round needs 1)'
        >>> due(images, Line(name="line3", inbox="in"), now=10.0)
    """
    new = _new(images)
    said = f"{len(new)} new image{'s' * (len(new) != 1)}"
    if len(new) >= line.min_new:
        return f"{said} (a round needs {line.min_new})"
    age = line.taking.max_age
    if age is not None and len(new) and now - float(new["taken_at"].min()) >= age:
        return f"{said}, the oldest of which has waited longer than {age} s"
    return f"{decisions} decisions of reviewers since the last round" if decisions else None


def in_window(images: pd.DataFrame, history: int | None) -> pd.DataFrame:
    """The images of a round: all new ones, and the latest `history` of those before (None: all).

    Images that were set aside are in no round.
    """
    usable = images[images["set_aside"].isna()]
    known = usable[usable["round"].notna()]
    if history is not None:
        known = known.iloc[max(0, len(known) - history) :]
    return pd.concat([known, usable[usable["round"].isna()]], ignore_index=True)


def select(
    chosen: pd.DataFrame,
    everything: pd.DataFrame,
    facts: Mapping[str, Facts],
    params: Params,
    golden: Mapping[str, NDArray[np.uint8]],
    missing: Collection[str] = (),
) -> Selection:
    """The tables of a round.

    Args:
        chosen: rows of the ledger's images (`in_window`).
        everything: all rows of it: the side of the test split that each image is on stays.
        facts: of the chosen images.
        golden: md5 → thumbnail of the golden images: these and their near-copies are not trained on.
        missing: chosen images whose file is no longer there.
    """
    found = {row: facts[row] for row in chosen["image_id"] if row not in set(missing)}
    beside = companions(found)
    found = {image: known for image, known in found.items() if image not in beside}
    rows = [
        {"image_id": image, "md5": known.md5, "split": "train", "label": None, "injected": False}
        for image, known in found.items()
    ]
    listed = pd.DataFrame(rows, columns=MANIFEST_SCHEMA.names).astype({"injected": bool})
    with Thumbnails({known.md5: known.thumbnail for known in found.values()}) as seen:
        copies, kept_out = copies_of_set(listed, seen, params.dataset.near_copies, golden)
    sided = everything[everything["held_out"].notna()]
    manifest = contaminate(
        listed,
        params.dataset,
        params.contamination,
        seed=params.run.seed,
        near_copies=copies,
        golden=kept_out,
        known=dict(zip(sided["md5"], sided["held_out"].astype(bool), strict=True)),
    )
    side = dict(zip(manifest["image_id"], manifest["split"] == "test", strict=True))
    new = chosen.loc[chosen["round"].isna(), "image_id"]
    gone = sorted((image, "the file is gone from the line's folder") for image in missing)
    return Selection(
        manifest=manifest,
        near_copies=copies,
        quarantine=pd.DataFrame(gone, columns=QUARANTINE_SCHEMA.names, dtype=object),
        ignored=pd.DataFrame(
            sorted((image, 1, why.reason) for image, why in beside.items()), columns=IGNORED_SCHEMA.names
        ),
        notes=pd.DataFrame(set_notes(found, params.images), columns=NOTES_SCHEMA.names, dtype=object),
        new={image: bool(side.get(image, False)) for image in new},
    )


def _new(images: pd.DataFrame) -> pd.DataFrame:
    return images[images["round"].isna() & images["set_aside"].isna()]
