"""MVTec AD, one category: `train/good`, `test/<good|defect>`, `ground_truth/<defect>/<stem>_mask.png`.

Bergmann et al., CVPR 2019. Images are 700 to 1024 pixels wide and grey in `grid`, `screw` and `zipper`; good
test images have no masks and no `ground_truth/good`. The demo plant is written in this layout too.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from irp_core.data.layouts.listing import Entry, images_below, sub_folders

__all__ = ["CATEGORIES", "categories_below", "matches", "read"]

CATEGORIES = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip


def matches(root: Path) -> bool:
    """`train/good` and `test` exist."""
    return (root / "train" / "good").is_dir() and (root / "test").is_dir()


def categories_below(root: Path) -> list[str]:
    """Names of the folders directly below `root` that are in this layout; none if `root` itself is."""
    return [] if matches(root) else [folder.name for folder in sub_folders(root) if matches(folder)]


def read(root: Path) -> list[Entry]:
    """List the images of one category; a defect without a mask file has no `mask_path`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("test/hole/1.png", "ground_truth/hole/1_mask.png"):
        ...         (Path(root) / name).parent.mkdir(parents=True)
        ...         (Path(root) / name).touch()
        ...     [(entry.image_id, entry.split, entry.mask_path) for entry in read(Path(root))]
        [('test/hole/1.png', 'test', 'ground_truth/hole/1_mask.png')]
    """
    entries = [Entry(i, split="train", label="good") for i in images_below(root, root / "train" / "good")]
    for folder in sub_folders(root / "test"):
        if folder.name == "good":
            entries += [Entry(i, split="test", label="good") for i in images_below(root, folder)]
            continue
        masks = _masks(root, folder.name)
        entries += [
            Entry(
                image_id,
                split="test",
                label="defective",
                defect_type=folder.name,
                mask_path=masks.get(PurePosixPath(image_id).stem),
            )
            for image_id in images_below(root, folder)
        ]
    return entries


def _masks(root: Path, defect: str) -> dict[str, str]:
    """Image stem → mask. MVTec's own are `<stem>_mask.png`; converted copies have other endings, or the bare stem.

    A mask is never an image: it lies outside `test`, so one whose stem fits no image is passed over.
    """
    paths = map(PurePosixPath, images_below(root, root / "ground_truth" / defect))
    # The publisher's form last, so that it wins where a folder holds both.
    ordered = sorted(paths, key=lambda path: path.stem.endswith("_mask"))
    return {path.stem.removesuffix("_mask"): str(path) for path in ordered}
