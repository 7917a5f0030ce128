"""Read a data set from disk: list it by its layout, hash and decode every file, report what is odd."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd

from irp_core.data.layouts import folder, ksdd2, mtd, mvtec
from irp_core.data.layouts.listing import EXTENSIONS, Entry
from irp_core.data.manifest import MANIFEST_SCHEMA
from irp_core.data.schemas import QUARANTINE_SCHEMA
from irp_core.errors import InputError
from irp_core.features.images import decode

__all__ = ["LAYOUTS", "Scan", "detect_layout", "scan"]

# In the order of detection: `folder` takes whatever no other layout claims.
LAYOUTS: dict[str, ModuleType] = {"mtd": mtd, "mvtec": mvtec, "ksdd2": ksdd2, "folder": folder}


@dataclass(frozen=True)
class Scan:
    """What a data set's folder holds: the readable images, the quarantined files, the duplicates."""

    layout: str
    manifest: pd.DataFrame
    quarantine: pd.DataFrame
    duplicates: pd.DataFrame


def detect_layout(root: Path) -> str:
    """Name of the first layout that claims `root`.

    Raises:
        InputError: `root` is not a folder, or holds MVTec AD categories instead of being one.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise InputError(f"{root}: expected a folder of images, found {found}.")
    if categories := mvtec.categories_below(root):
        # Taken as a plain folder it would train on every category's defects, and on the masks.
        raise InputError(
            f"{root}: expected one category of MVTec AD, found the folder of {len(categories)} "
            f"({', '.join(categories)}); name one, for example {root / categories[0]}."
        )
    return next(name for name, layout in LAYOUTS.items() if layout.matches(root))


def scan(
    root: Path,
    layout: str = "auto",
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Make the manifest of a folder.

    Every file is read once: its md5 is taken and it is decoded to the last row, so that an empty,
    truncated or foreign file is found here and quarantined, not in the middle of a run.

    Args:
        root: the data set's root.
        layout: one of `LAYOUTS`, or `auto`.
        workers: threads that hash and decode.
        progress: called with (files done, files in all).

    Raises:
        InputError: no folder, not the layout asked for, or not one readable image.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Image.new("RGB", (8, 8)).save(Path(root) / "plate.png")
        ...     (Path(root) / "empty.png").touch()
        ...     found = scan(Path(root))
        >>> found.manifest["image_id"].tolist(), found.quarantine["reason"].tolist()
        (['plate.png'], ['empty file'])
    """
    detected = detect_layout(root)
    name = detected if layout == "auto" else layout
    if not LAYOUTS[name].matches(root):
        raise InputError(f"{root}: is not in layout {name!r}; it looks like {detected!r}.")
    entries: list[Entry] = sorted(LAYOUTS[name].read(root), key=lambda entry: entry.image_id)
    rows, quarantined = [], []
    with ThreadPoolExecutor(workers) as pool:
        checked = pool.map(lambda entry: _check(root / entry.image_id), entries)
        for done, (entry, (md5, reason)) in enumerate(zip(entries, checked, strict=True), start=1):
            reason = reason or entry.problem
            if reason is None:
                rows.append({**asdict(entry), "md5": md5, "injected": False})
            else:
                quarantined.append({"image_id": entry.image_id, "reason": reason})
            if progress:
                progress(done, len(entries))
    if not rows:
        kinds = ", ".join(extension.lstrip(".") for extension in EXTENSIONS)
        reasons = f" ({len(quarantined)} unreadable files, first: {quarantined[0]['reason']})" if quarantined else ""
        raise InputError(f"{root}: expected at least one readable image ({kinds}), found none{reasons}.")
    manifest = pd.DataFrame(rows, columns=MANIFEST_SCHEMA.names)
    repeated = manifest["md5"].duplicated(keep=False)
    return Scan(
        layout=name,
        manifest=manifest,
        quarantine=pd.DataFrame(quarantined, columns=QUARANTINE_SCHEMA.names),
        duplicates=manifest.loc[repeated, ["md5", "image_id"]].sort_values(["md5", "image_id"], ignore_index=True),
    )


def _check(path: Path) -> tuple[str, str | None]:
    """(md5, None) of a readable image, or ("", reason)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"
    if not content:
        return "", "empty file"
    try:
        decode(content)
    except InputError as error:
        return "", str(error)
    return hashlib.md5(content, usedforsecurity=False).hexdigest(), None
