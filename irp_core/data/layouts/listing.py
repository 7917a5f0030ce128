"""What every layout shares: which files are images, and the record a layout makes of one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EXTENSIONS", "Entry", "images_below", "sub_folders"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Entry:
    """One image as its layout describes it; paths are relative to the root, with `/`.

    `problem` says why the layout cannot use the image: it is quarantined with that reason.
    """

    image_id: str
    split: str
    label: str | None = None
    defect_type: str | None = None
    mask_path: str | None = None
    problem: str | None = None


def images_below(root: Path, folder: Path | None = None) -> list[str]:
    """Relative paths of all image files below `folder` (default `root`), recursively, sorted.

    Hidden files and folders (`.git`, `._x.png` of macOS) are passed over.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png"):
        ...         (Path(root) / name).touch()
        ...     images_below(Path(root))
        ['a.jpg', 'b.PNG']
    """
    found = []
    for directory, folders, files in os.walk(folder or root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                found.append((Path(directory) / name).relative_to(root).as_posix())
    return sorted(found)


def sub_folders(folder: Path) -> list[Path]:
    """The visible folders directly below `folder`, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
