"""Magnetic tile defects (Huang, Qiu, Yuan 2018): `MT_<Class>/Imgs/*.jpg`, masks `*.png` of the same stem.

`MT_Free` is good. The publishers give no split: `contamination` makes one.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from irp_core.data.layouts.listing import Entry
from irp_core.data.layouts.names import DEFAULT_GOOD, Good
from irp_core.data.walk import Tree

__all__ = ["matches", "read"]

_GOOD = "MT_Free"


def matches(tree: Tree, good: Good = DEFAULT_GOOD) -> bool:
    """`MT_Free/Imgs` exists."""
    return "Imgs" in tree.folders(_GOOD)


def read(tree: Tree, good: Good = DEFAULT_GOOD) -> list[Entry]:
    """List the images; a PNG beside another image of the same stem is that image's mask.

    Example:
        >>> from pathlib import Path
        >>> tree = Tree(Path(), ("MT_Crack/Imgs/1.jpg", "MT_Crack/Imgs/1.png"), {}, ())
        >>> [(entry.image_id, entry.defect_type, entry.mask_path) for entry in read(tree) if not entry.ignored]
        [('MT_Crack/Imgs/1.jpg', 'crack', 'MT_Crack/Imgs/1.png')]
    """
    entries = []
    for folder in tree.folders():
        if not folder.startswith("MT_"):
            continue
        files = tree.below(folder)
        others = {str(PurePosixPath(f).with_suffix("")) for f in files if not f.lower().endswith(".png")}
        is_good = folder == _GOOD
        known = set(files)
        for file in files:
            path = PurePosixPath(file)
            is_png = path.suffix.lower() == ".png"
            if is_png and str(path.with_suffix("")) in others:
                entries.append(Entry(file, ignored="ground truth"))
                continue
            mask = str(path.with_suffix(".png"))
            has_mask = not is_good and not is_png and mask in known
            entries.append(
                Entry(
                    file,
                    split="unassigned",
                    label="good" if is_good else "defective",
                    defect_type=None if is_good else folder.removeprefix("MT_").lower(),
                    mask_path=mask if has_mask else None,
                )
            )
    return entries
