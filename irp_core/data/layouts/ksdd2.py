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

from irp_core.config import Images
from irp_core.data.layouts.listing import Entry
from irp_core.data.layouts.names import DEFAULT_GOOD, Good
from irp_core.data.walk import Tree
from irp_core.errors import InputError
from irp_core.features.image_formats import decode_mask
from irp_core.packed.images import is_image, read_image

__all__ = ["matches", "read"]

_SPLITS = ("train", "test")
_GROUND_TRUTH = "_GT"
_TRUTH = f"{_GROUND_TRUTH}.png"


def matches(tree: Tree, good: Good = DEFAULT_GOOD) -> bool:
    """`train` and `test` each hold a `*_GT.png`."""
    with_truth = {image.rpartition("/")[0] for image in tree.images if image.endswith(_TRUTH)}
    return with_truth.issuperset(_SPLITS)


def read(tree: Tree, good: Good = DEFAULT_GOOD) -> list[Entry]:
    """List the images of both splits, labelled by their ground truth.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (Path(root) / "train").mkdir()
        ...     for name in ("10000.png", "10000_GT.png"):
        ...         Image.new("L", (8, 8), "white").save(Path(root) / "train" / name)
        ...     tree = Tree(Path(root), ("train/10000.png", "train/10000_GT.png"), {}, ())
        ...     [(entry.image_id, entry.label, entry.mask_path) for entry in read(tree) if not entry.ignored]
        [('train/10000.png', 'defective', 'train/10000_GT.png')]
    """
    paths = [(split, PurePosixPath(image)) for split in _SPLITS for image in tree.below(split)]
    truths = [Entry(str(path), split, ignored="ground truth") for split, path in paths if _is_truth(path)]
    images = [(split, path) for split, path in paths if not path.stem.endswith(_GROUND_TRUTH)]
    with ThreadPoolExecutor() as pool:  # 3335 small files, and Pillow decodes without the interpreter's lock
        return truths + list(pool.map(lambda image: _entry(tree.root, *image), images))


def _is_truth(path: PurePosixPath) -> bool:
    return path.name.endswith(_TRUTH)


def _entry(root: Path, split: str, path: PurePosixPath) -> Entry:
    mask = path.with_name(f"{path.stem}{_GROUND_TRUTH}.png")
    if not is_image(root / mask):
        return Entry(str(path), split, problem=f"no ground truth {mask.name}")
    try:
        defective = bool(decode_mask(read_image(root / mask, Images().max_bytes)).any())
    except InputError as error:
        return Entry(str(path), split, problem=f"ground truth {mask.name}: {error}")
    if not defective:
        return Entry(str(path), split, label="good")
    return Entry(str(path), split, label="defective", defect_type="defect", mask_path=str(mask))
