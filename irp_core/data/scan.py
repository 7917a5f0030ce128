"""Read a data set from disk: list it by its layout, hash and decode every file, report what is odd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.config import Dataset, Images, Params
from irp_core.data.companions import companions
from irp_core.data.contamination import contaminate
from irp_core.data.copies.of_set import copies_of_set
from irp_core.data.copies.thumbnails import Thumbnails
from irp_core.data.layouts import folder, ksdd2, mtd, mvtec
from irp_core.data.layouts.listing import Entry
from irp_core.data.layouts.names import Good
from irp_core.data.look import Facts, Figures, Unreadable, look
from irp_core.data.manifest import MANIFEST_SCHEMA
from irp_core.data.schemas import IGNORED_SCHEMA, NOTES_SCHEMA, QUARANTINE_SCHEMA
from irp_core.data.seen.known_files import KnownFiles
from irp_core.data.set_notes import Size, recommended_size, set_notes
from irp_core.data.walk import EXTENSIONS, Ignored, Tree, walk
from irp_core.errors import InputError

__all__ = ["LAYOUTS", "Scan", "detect_layout", "is_labelled", "pictures_below", "scan", "scan_and_contaminate"]

# In the order of detection: `folder` takes whatever no other layout claims.
LAYOUTS: dict[str, ModuleType] = {"mtd": mtd, "mvtec": mvtec, "ksdd2": ksdd2, "folder": folder}
_DATASET = Dataset()
_AT_ONCE = 4096  # images


@dataclass(frozen=True)
class Scan:
    """What a data set's folder holds: every file below it is in one of `manifest`, `quarantine` and `ignored`.

    Attributes:
        manifest: the images that can be used.
        quarantine: images by their name that cannot; a path that ends with `/` is a folder's.
        duplicates: images of equal bytes.
        ignored: all other files, with the reason; a folder that is not entered is one row, with its number of files.
        near_copies: images of different bytes that show the same, by group: `group` is a digest in md5's form, and all
            images of one group belong together like copies of one file.
        notes: what is odd about an image, or (`image_id` null) about the set.
        size: the `images.size` that suits the set's own sizes.
        golden: md5 of the images that are golden ones, or near-copies of one.
    """

    layout: str
    manifest: pd.DataFrame
    quarantine: pd.DataFrame
    duplicates: pd.DataFrame
    ignored: pd.DataFrame
    near_copies: pd.DataFrame
    notes: pd.DataFrame
    size: Size
    golden: frozenset[str] = frozenset()


def detect_layout(root: Path, layout: str = "auto", *, good_names: Iterable[str] = _DATASET.good_names) -> str:
    """Name of the layout of `root`: the one asked for, else the first one that claims it.

    Raises:
        InputError: `root` is not a folder, not in the layout asked for, holds MVTec AD categories instead of being
            one, or has folders whose names leave open which images are to be trained on.
    """
    return _detect(walk(root), layout, Good(good_names))


def is_labelled(root: Path, layout: str = "auto", *, good_names: Iterable[str] = _DATASET.good_names) -> bool:
    """Whether the folders tell good images from defective ones; nothing is decoded.

    Raises:
        InputError: see `detect_layout`.
    """
    tree, good = walk(root), Good(good_names)
    entries = LAYOUTS[_detect(tree, layout, good)].read(tree, good)
    return any(entry.label == "defective" for entry in entries if not entry.ignored)


def _detect(tree: Tree, layout: str, good: Good) -> str:
    root = tree.root
    first = next(name for name, known in LAYOUTS.items() if known.matches(tree, good))
    if layout != "auto":
        if not LAYOUTS[layout].matches(tree, good):
            raise InputError(f"{root}: is not in layout {layout!r}; it looks like {first!r}.")
        return layout
    if categories := mvtec.categories_below(tree, good):
        # Taken as a plain folder it would train on every category's defects, and on the masks.
        raise InputError(
            f"{root}: expected one category of MVTec AD, found the folder of {len(categories)} "
            f"({', '.join(categories)}); name one, for example {root / categories[0]}."
        )
    if first == "folder" and (reason := folder.unclear(tree, good)):
        raise InputError(
            f"{root}: expected images in one folder, or a folder of good ones beside one per defect; found {reason}. "
            f"Name the folder to train on instead (irp prepare shows the counts), say what good images are called "
            f"(dataset.good_names), or take every image as one unlabelled set (dataset.layout=folder)."
        )
    return first


def scan(
    root: Path,
    layout: str = "auto",
    *,
    good_names: Iterable[str] = _DATASET.good_names,
    copies_from: float | None = _DATASET.near_copies,
    images: Images | None = None,
    golden: Path | None = None,
    known: KnownFiles | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Make the manifest of a folder.

    Every file is read once: its md5 is taken and it is decoded to the last row, so that an empty,
    truncated or foreign file is found here and quarantined, not in the middle of a run.

    Args:
        root: the data set's root.
        layout: one of `LAYOUTS`, or `auto`.
        good_names: what folders of good images are called.
        copies_from: correlation from which images are near-copies; None: no near-copies are looked for.
        images: which images are read, and with which scale.
        golden: a folder of labelled images that must not be trained on; unreadable files in it are passed over.
        known: what was found in files before; a file that did not change since is not read.
        workers: threads that hash and decode.
        progress: called with (files done, files in all).

    Raises:
        InputError: no folder, not the layout asked for, an unclear one, or not one readable image.

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
    tree, good = walk(root), Good(good_names)
    name = _detect(tree, layout, good)
    listed: list[Entry] = sorted(LAYOUTS[name].read(tree, good), key=lambda entry: entry.image_id)
    ignored = [*tree.ignored, *_ignored(tree, listed, name)]
    quarantined = dict(tree.quarantined)
    entries = {entry.image_id: entry for entry in listed if not entry.ignored}
    found: dict[str, Figures] = {}
    settings = images or Images()
    with Thumbnails() as pictures:
        for done, (image, facts) in enumerate(_looked_at(root, list(entries), settings, known, workers), start=1):
            problem = entries[image].problem
            if isinstance(facts, Unreadable):
                quarantined[image] = facts.reason
            elif problem is not None:
                quarantined[image] = problem
            else:
                found[image] = facts.figures()
                pictures.add(facts.md5, facts.thumbnail)
            if progress:
                progress(done, len(entries))
        for image, why in companions(found).items():
            del found[image]
            ignored.append(Ignored(image, why.reason))
            masked = entries.get(why.mask_of or "")
            if masked and masked.label == "defective" and masked.mask_path is None:
                entries[masked.image_id] = replace(masked, mask_path=image)
        if not found:
            raise InputError(_no_image(root, quarantined, ignored))
        manifest = _manifest([entries[image] for image in found], [facts.md5 for facts in found.values()])
        kept_out = _golden(golden, settings, workers) if golden else {}
        copies, golden_md5 = copies_of_set(manifest, pictures, copies_from, kept_out)
    repeated = manifest["md5"].duplicated(keep=False)
    return Scan(
        layout=name,
        manifest=manifest,
        quarantine=pd.DataFrame(sorted(quarantined.items()), columns=QUARANTINE_SCHEMA.names),
        duplicates=manifest.loc[repeated, ["md5", "image_id"]].sort_values(["md5", "image_id"], ignore_index=True),
        ignored=pd.DataFrame(
            sorted((entry.path, entry.files, entry.reason) for entry in ignored), columns=IGNORED_SCHEMA.names
        ),
        near_copies=copies,
        notes=pd.DataFrame(set_notes(found, settings), columns=NOTES_SCHEMA.names, dtype=object),
        size=recommended_size(found),
        golden=golden_md5,
    )


def _looked_at(
    root: Path, images: Sequence[str], settings: Images, known: KnownFiles | None, workers: int
) -> Iterator[tuple[str, Facts | Unreadable]]:
    """What is found in each image, in their order; some thousands are looked at, or recalled, at a time."""
    recalled = known.recall(root / image for image in images) if known else None
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(images), _AT_ONCE):
            part = images[start : start + _AT_ONCE]
            before = recalled.facts(start, start + len(part)) if recalled else [None] * len(part)
            paths = [root / image for image in part]
            read = pool.map(lambda path, facts: facts or look(path, settings), paths, before)
            for number, (image, facts) in enumerate(zip(part, read, strict=True)):
                key = recalled.keys[start + number] if recalled and before[number] is None else None
                if known and key and isinstance(facts, Facts):
                    known.remember(key, facts)
                yield image, facts
    if known:
        known.keep()


def _manifest(entries: list[Entry], md5s: list[str]) -> pd.DataFrame:
    columns = {"md5": md5s, "injected": [False] * len(md5s)}
    listed = [name for name in MANIFEST_SCHEMA.names if name not in columns]
    columns |= {name: [getattr(entry, name) for entry in entries] for name in listed}
    return pd.DataFrame(columns, columns=MANIFEST_SCHEMA.names)


def scan_and_contaminate(
    root: Path,
    params: Params,
    *,
    earlier: Mapping[str, bool] | None = None,
    known: KnownFiles | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Scan, pd.DataFrame]:
    """What a run begins from: what `scan` finds in `root`, and the manifest that `contaminate` makes of it.

    Args:
        earlier: `known` of `contaminate`.
        known, progress: see `scan`.
    """
    found = scan(
        root,
        params.dataset.layout,
        good_names=params.dataset.good_names,
        copies_from=params.dataset.near_copies,
        images=params.images,
        golden=Path(params.dataset.golden) if params.dataset.golden else None,
        known=known,
        workers=params.features.workers,
        progress=progress,
    )
    manifest = contaminate(
        found.manifest,
        params.dataset,
        params.contamination,
        seed=params.run.seed,
        near_copies=found.near_copies,
        golden=found.golden,
        known=earlier,
    )
    return found, manifest


def _golden(folder: Path, images: Images, workers: int) -> dict[str, NDArray[np.uint8]]:
    """Content → thumbnail of the images below a folder.

    Raises:
        InputError: no folder, or no image in it that can be read.
    """
    seen = pictures_below(folder, images, workers)
    if not seen:
        raise InputError(f"dataset.golden {folder}: expected at least one readable image, found none.")
    return seen


def pictures_below(folder: Path, images: Images, workers: int) -> dict[str, NDArray[np.uint8]]:
    """Content → thumbnail of the images below a folder that can be read."""
    with ThreadPoolExecutor(workers) as pool:
        read = list(pool.map(lambda image: look(folder / image, images), walk(folder).images))
    return {facts.md5: facts.thumbnail for facts in read if isinstance(facts, Facts)}


def _ignored(tree: Tree, listed: list[Entry], layout: str) -> list[Ignored]:
    """The images that the layout does not take, with its reason where it gives one."""
    taken = {entry.image_id for entry in listed}
    outside = f"outside the folders of layout {layout}"
    return [
        *(Ignored(image, outside) for image in tree.images if image not in taken),
        *(Ignored(entry.image_id, entry.ignored) for entry in listed if entry.ignored),
    ]


def _no_image(root: Path, quarantined: dict[str, str], ignored: list[Ignored]) -> str:
    kinds = ", ".join(extension.lstrip(".") for extension in EXTENSIONS)
    told = []
    if quarantined:
        told.append(f"{len(quarantined)} unreadable files, first: {next(iter(quarantined.values()))}")
    if ignored:
        told.append(f"{sum(entry.files for entry in ignored)} ignored files, first: {ignored[0].reason}")
    reasons = f" ({'; '.join(told)})" if told else ""
    return f"{root}: expected at least one readable image ({kinds}), found none{reasons}."
