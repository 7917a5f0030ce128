"""MVTec AD, one category: `train/good`, `test/<good|defect>`, `ground_truth/<defect>/<stem>_mask.png`.

Bergmann et al., CVPR 2019. The demo plant is written in this layout too.
"""

from __future__ import annotations

from pathlib import Path

from irp_core.datasets.listing import Entry, images_below, sub_folders

__all__ = ["matches", "read"]


def matches(root: Path) -> bool:
    """`train/good` and `test` exist."""
    return (root / "train" / "good").is_dir() and (root / "test").is_dir()


def read(root: Path) -> list[Entry]:
    """List the images of one category; a defect without a mask file has no `mask_path`."""
    entries = [Entry(i, split="train", label="good") for i in images_below(root, root / "train" / "good")]
    for folder in sub_folders(root / "test"):
        for image_id in images_below(root, folder):
            if folder.name == "good":
                entries.append(Entry(image_id, split="test", label="good"))
                continue
            mask = root / "ground_truth" / folder.name / f"{Path(image_id).stem}_mask.png"
            entries.append(
                Entry(
                    image_id,
                    split="test",
                    label="defective",
                    defect_type=folder.name,
                    mask_path=mask.relative_to(root).as_posix() if mask.is_file() else None,
                )
            )
    return entries
