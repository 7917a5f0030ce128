"""MVTec AD, one category: `train/good`, `test/<good|defect>`, `ground_truth/<defect>/<stem>_mask.png`.

Bergmann et al., CVPR 2019. Images are 700 to 1024 pixels wide and grey in `grid`, `screw` and `zipper`; good
test images have no masks and no `ground_truth/good`. The demo plant is written in this layout too. Many sets are laid
out alike with other words: names are compared without case, and good images may be called as `dataset.good_names` says.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from irp_core.data.layouts.listing import Entry, masks_by_image
from irp_core.data.layouts.names import DEFAULT_GOOD, Good, is_mask_folder, split_of
from irp_core.data.walk import Tree

__all__ = ["CATEGORIES", "categories_below", "matches", "read"]

CATEGORIES = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip


def matches(tree: Tree, good: Good = DEFAULT_GOOD) -> bool:
    """There are a folder of good images in `train`, and `test`."""
    return _is_category(tree, "", good)


def categories_below(tree: Tree, good: Good = DEFAULT_GOOD) -> list[str]:
    """Names of the folders directly below the root that are in this layout; none if the root itself is."""
    if matches(tree, good):
        return []
    return [name for name in tree.folders() if _is_category(tree, name, good)]


def _is_category(tree: Tree, folder: str, good: Good) -> bool:
    splits = _splits(tree, folder)
    return "test" in splits and any(good(name) for name in tree.folders(splits.get("train", "\0")))


def _splits(tree: Tree, folder: str = "") -> dict[str, str]:
    """Split → its folder's path."""
    prefix = f"{folder}/" if folder else ""
    return {split: f"{prefix}{name}" for name in tree.folders(folder) if (split := split_of(name))}


def read(tree: Tree, good: Good = DEFAULT_GOOD) -> list[Entry]:
    """List the images of one category; a defect without a mask file has no `mask_path`.

    Example:
        >>> from pathlib import Path
        >>> tree = Tree(Path(), ("ground_truth/hole/1_mask.png", "test/hole/1.png", "train/ok/1.png"), {}, ())
        >>> [(entry.image_id, entry.label, entry.mask_path) for entry in read(tree) if not entry.ignored]
        [('train/ok/1.png', 'good', None), ('test/hole/1.png', 'defective', 'ground_truth/hole/1_mask.png')]
    """
    splits = _splits(tree)
    masks = [image for image in tree.images if is_mask_folder(PurePosixPath(image).parts[0])]
    mask_of = masks_by_image(masks)
    entries = [Entry(mask, ignored="ground truth") for mask in masks]
    train, test = splits["train"], splits["test"]
    for folder in tree.folders(train):
        path = f"{train}/{folder}"
        if good(folder):
            entries += [Entry(image, split="train", label="good") for image in tree.below(path)]
        else:
            reason = f"in {path}: this layout trains on good images only"
            entries += [Entry(image, ignored=reason) for image in tree.below(path)]
    for folder in tree.folders(test):
        images = tree.below(f"{test}/{folder}")
        if good(folder):
            entries += [Entry(image, split="test", label="good") for image in images]
            continue
        entries += [
            Entry(
                image,
                split="test",
                label="defective",
                defect_type=folder,
                mask_path=mask_of.get((folder, PurePosixPath(image).stem)),
            )
            for image in images
        ]
    return entries
