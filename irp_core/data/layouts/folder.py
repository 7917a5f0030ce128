"""Any folder of images.

Labelled when a direct sub-folder is called good (`dataset.good_names`): its images are good, those of every other
sub-folder are defects of that name. Otherwise unlabelled: every image is a training image. Folders of masks are
neither.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePosixPath

from irp_core.data.layouts.listing import Entry, masks_by_image
from irp_core.data.layouts.names import DEFAULT_GOOD, Good, is_defect_folder, is_mask_folder, split_of
from irp_core.data.walk import Tree

__all__ = ["matches", "read", "unclear"]

_MASK = "in a folder of masks"
_BESIDE = "beside the folders of a labelled set: neither good nor of a defect"


def matches(tree: Tree, good: Good = DEFAULT_GOOD) -> bool:
    """Every folder is one; this layout is tried last."""
    return True


def read(tree: Tree, good: Good = DEFAULT_GOOD) -> list[Entry]:
    """List the images of the folder.

    Example:
        >>> from pathlib import Path
        >>> tree = Tree(Path(), ("Good/1.png", "mask/2.png", "scratch/2.png"), {}, ())
        >>> [(entry.image_id, entry.label, entry.mask_path) for entry in read(tree) if not entry.ignored]
        [('Good/1.png', 'good', None), ('scratch/2.png', 'defective', 'mask/2.png')]
    """
    masks = [image for image in tree.images if _in_masks(image)]
    entries = [Entry(image, ignored=_MASK) for image in masks]
    images = [image for image in tree.images if not _in_masks(image)]
    if not any(good(name) for name in tree.folders()):
        return entries + [Entry(image) for image in images]
    mask_of = masks_by_image(masks)
    for image in images:
        folder, *inner = PurePosixPath(image).parts
        if not inner:
            entries.append(Entry(image, ignored=_BESIDE))
        elif good(folder):
            entries.append(Entry(image, split="unassigned", label="good"))
        else:
            stem = PurePosixPath(image).stem
            mask = mask_of.get((folder, stem)) or mask_of.get(("", stem))
            entries.append(Entry(image, split="unassigned", label="defective", defect_type=folder, mask_path=mask))
    return entries


def unclear(tree: Tree, good: Good = DEFAULT_GOOD) -> str | None:
    """What speaks against taking the folder for one of these, as a sentence's middle; None where nothing does.

    Names that mean a split, good images or defects, where this layout would not heed them: it would train
    on test images, or on defects, as if they were good.
    """
    paths = {image.rpartition("/")[0] for image in tree.images}
    folders = [tuple(path.split("/")) if path else () for path in sorted(paths) if not _of_masks(path)]
    if splits := sorted({names[0] for names in folders if names and split_of(names[0])}):
        return f"the folder{'s' * (len(splits) > 1)} {_listed(splits)} of a split, in no layout that is known"
    if any(good(name) for name in tree.folders()):
        return None
    if defects := sorted({names[0] for names in folders if names and is_defect_folder(names[0])}):
        return f"the folder{'s' * (len(defects) > 1)} {_listed(defects)} of defects, but none of good images"
    told = [names for names in folders if any(_tells(name, good) for name in names[1:])]
    if told and not (len(told) == len(folders) and all(any(map(good, names[1:])) for names in told)):
        found = sorted({"/".join(names) for names in told})
        return f"folders whose names tell good from bad, or training from test, further down ({_listed(found)})"
    return None


def _tells(name: str, good: Good) -> bool:
    return good(name) or is_defect_folder(name) or split_of(name) is not None


def _in_masks(image: str) -> bool:
    return _of_masks(image.rpartition("/")[0])


@lru_cache(maxsize=4096)
def _of_masks(folder: str) -> bool:
    return any(is_mask_folder(name) for name in folder.split("/") if name)


def _listed(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
