"""The record that a layout makes of an image, and the masks of a folder of ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from irp_core.data.layouts.names import is_mask_folder, masked_stem

__all__ = ["Entry", "masks_by_image"]


@dataclass(frozen=True)
class Entry:
    """One image as its layout describes it; paths are relative to the root, with `/`.

    `problem` says why the layout cannot use the image: it is quarantined with that reason. `ignored` says why it is no
    image of the set (a mask, say): it is counted with that reason.
    """

    image_id: str
    split: str = "train"
    label: str | None = None
    defect_type: str | None = None
    mask_path: str | None = None
    problem: str | None = None
    ignored: str | None = None


def masks_by_image(masks: Iterable[str]) -> dict[tuple[str, str], str]:
    """(folder's name, stem of the image) → mask, of masks that lie as `<folder>/<stem>_mask.png`.

    MVTec AD's own are `<stem>_mask.png`; converted copies have other endings or suffixes, or the bare stem; MVTec LOCO
    AD has a folder `<stem>/` of masks per image, of which the first is taken. The folder's name is that of the defect,
    or "" where masks lie in the mask folder itself.

    Example:
        >>> masks_by_image(["ground_truth/hole/1_mask.png", "masks/2.png"])
        {('', '2'): 'masks/2.png', ('hole', '1'): 'ground_truth/hole/1_mask.png'}
    """
    found: dict[tuple[str, str], str] = {}
    # A suffix marks the publisher's form: it comes last, so that it wins where a folder holds both.
    for path in sorted(
        map(PurePosixPath, sorted(masks, reverse=True)), key=lambda path: masked_stem(path.stem) is not None
    ):
        depth = max(index for index, name in enumerate(path.parts) if is_mask_folder(name))
        inner = path.parts[depth + 1 : -1]
        stem = inner[1] if len(inner) > 1 else (masked_stem(path.stem) or path.stem)
        found[inner[0] if inner else "", stem] = str(path)
    return found
