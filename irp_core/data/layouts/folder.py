"""Any folder of images.

Labelled when one direct sub-folder is named `good`: its images are good, those of every other
sub-folder are defects of that name. Otherwise unlabelled: every image is a training image.
"""

from __future__ import annotations

from pathlib import Path

from irp_core.data.layouts.listing import Entry, images_below, sub_folders

__all__ = ["matches", "read"]


def matches(root: Path) -> bool:
    """Every folder is one; this layout is tried last."""
    return root.is_dir()


def read(root: Path) -> list[Entry]:
    """List the images of `root`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("good/1.png", "scratch/2.png"):
        ...         (Path(root) / name).parent.mkdir()
        ...         (Path(root) / name).touch()
        ...     [(entry.image_id, entry.label, entry.defect_type) for entry in read(Path(root))]
        [('good/1.png', 'good', None), ('scratch/2.png', 'defective', 'scratch')]
    """
    folders = sub_folders(root)
    if not any(_is_good(folder) for folder in folders):
        return [Entry(image_id, split="train") for image_id in images_below(root)]
    entries = []
    for folder in folders:
        good = _is_good(folder)
        for image_id in images_below(root, folder):
            entries.append(
                Entry(
                    image_id,
                    split="unassigned",
                    label="good" if good else "defective",
                    defect_type=None if good else folder.name,
                )
            )
    return entries


def _is_good(folder: Path) -> bool:
    return folder.name.lower() == "good"
