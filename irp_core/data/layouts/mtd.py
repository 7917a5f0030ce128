"""Magnetic tile defects (Huang, Qiu, Yuan 2018): `MT_<Class>/Imgs/*.jpg`, masks `*.png` of the same stem.

`MT_Free` is good. The publishers give no split: `contamination` makes one.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from irp_core.data.layouts.listing import Entry, images_below, sub_folders

__all__ = ["matches", "read"]

_GOOD = "MT_Free"


def matches(root: Path) -> bool:
    """`MT_Free/Imgs` exists."""
    return (root / _GOOD / "Imgs").is_dir()


def read(root: Path) -> list[Entry]:
    """List the images; a PNG beside another image of the same stem is that image's mask.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("MT_Crack/Imgs/1.jpg", "MT_Crack/Imgs/1.png"):
        ...         (Path(root) / name).parent.mkdir(parents=True, exist_ok=True)
        ...         (Path(root) / name).touch()
        ...     [(entry.image_id, entry.defect_type, entry.mask_path) for entry in read(Path(root))]
        [('MT_Crack/Imgs/1.jpg', 'crack', 'MT_Crack/Imgs/1.png')]
    """
    entries = []
    for folder in sub_folders(root):
        if not folder.name.startswith("MT_"):
            continue
        files = images_below(root, folder)
        others = {str(PurePosixPath(f).with_suffix("")) for f in files if not f.lower().endswith(".png")}
        good = folder.name == _GOOD
        for file in files:
            path = PurePosixPath(file)
            is_png = path.suffix.lower() == ".png"
            if is_png and str(path.with_suffix("")) in others:
                continue
            mask = path.with_suffix(".png")
            has_mask = not good and not is_png and (root / mask).is_file()
            entries.append(
                Entry(
                    file,
                    split="unassigned",
                    label="good" if good else "defective",
                    defect_type=None if good else folder.name.removeprefix("MT_").lower(),
                    mask_path=str(mask) if has_mask else None,
                )
            )
    return entries
