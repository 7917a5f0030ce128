"""KolektorSDD2: `train/NNNNN.png` with `train/NNNNN_GT.png`, `test/…` likewise.

Božič, Tabernik, Skočaj, Computers in Industry 2021. An image is defective where its ground truth has any
non-zero pixel: 2085 good and 246 defective images in train, 894 and 110 in test, about 230 x 630 pixels each.

The publishers' split is kept. Its defective training images are the pool that `contamination` injects from and
train nothing unless it does (docs/decisions/0010). An image whose ground truth is missing or damaged has no
label to evaluate by and would train as if it were good: it is quarantined. So are the two stray copies in the
publishers' archive, `10301 (copy).png` and `10301_GT (copy).png`, which have no ground truth of their own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from irp_core.data.layouts.listing import Entry, images_below
from irp_core.errors import InputError
from irp_core.features.images import decode_mask

__all__ = ["matches", "read"]

_SPLITS = ("train", "test")
_GROUND_TRUTH = "_GT"


def matches(root: Path) -> bool:
    """`train` and `test` each hold a `*_GT.png`."""
    return all(any((root / split).glob(f"*{_GROUND_TRUTH}.png")) for split in _SPLITS)


def read(root: Path) -> list[Entry]:
    """List the images of both splits, labelled by their ground truth.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (Path(root) / "train").mkdir()
        ...     for name in ("10000.png", "10000_GT.png"):
        ...         Image.new("L", (8, 8), "white").save(Path(root) / "train" / name)
        ...     [(entry.image_id, entry.label, entry.mask_path) for entry in read(Path(root))]
        [('train/10000.png', 'defective', 'train/10000_GT.png')]
    """
    images = []
    for split in _SPLITS:
        paths = map(PurePosixPath, images_below(root, root / split))
        images += [(split, path) for path in paths if not path.stem.endswith(_GROUND_TRUTH)]
    with ThreadPoolExecutor() as pool:  # 3335 small files, and Pillow decodes without the interpreter's lock
        return list(pool.map(lambda image: _entry(root, *image), images))


def _entry(root: Path, split: str, path: PurePosixPath) -> Entry:
    mask = path.with_name(f"{path.stem}{_GROUND_TRUTH}.png")
    try:
        defective = bool(decode_mask((root / mask).read_bytes()).any())
    except FileNotFoundError:
        return Entry(str(path), split, problem=f"no ground truth {mask.name}")
    except (OSError, InputError) as error:
        return Entry(str(path), split, problem=f"ground truth {mask.name}: {error}")
    if not defective:
        return Entry(str(path), split, label="good")
    return Entry(str(path), split, label="defective", defect_type="defect", mask_path=str(mask))
