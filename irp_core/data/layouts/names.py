"""What folders and files are called: good images, defects, splits, masks. One rule for all layouts.

A name is compared without its case, blanks and punctuation: "Good", "GOOD" and "defect-free" for `defect_free`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from irp_core.config import Dataset

__all__ = ["DEFAULT_GOOD", "Good", "is_defect_folder", "is_mask_folder", "masked_stem", "plain", "split_of"]


def plain(name: str) -> str:
    """The name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


_DEFECTS = frozenset(
    map(plain, ("bad", "ko", "nok", "not_ok", "ng", "n.i.O.", "defect", "defects", "defective", "anomaly", "anomalies",
                "anomalous", "abnormal", "fail", "failed", "faulty", "reject", "rejects", "rejected", "scrap"))
)  # fmt: skip
_MASKS = frozenset(
    map(plain, ("mask", "masks", "ground_truth", "ground_truths", "gt", "segmentation", "segmentations", "annotation",
                "annotations"))
)  # fmt: skip
_SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation",
    "valid": "validation", "validation": "validation",
}  # fmt: skip
_MASK_SUFFIX = re.compile(r"^(.+?)[ _.-](?:mask|gt|ground_?truth|seg|segmentation)$", re.IGNORECASE)


class Good:
    """The rule that says whether a folder's name means good images.

    Args:
        names: `dataset.good_names`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(map(plain, names))

    def __call__(self, name: str) -> bool:
        return plain(name) in self._names


DEFAULT_GOOD = Good(Dataset().good_names)


def is_defect_folder(name: str) -> bool:
    """Whether a folder's name means defects of any kind (`crack` does not: it could be anything)."""
    return plain(name) in _DEFECTS


def is_mask_folder(name: str) -> bool:
    """Whether a folder's name means ground-truth masks."""
    return plain(name) in _MASKS


def split_of(name: str) -> str | None:
    """`train`, `test` or `validation` where a folder's name means that split."""
    return _SPLITS.get(plain(name))


def masked_stem(stem: str) -> str | None:
    """The stem of the image whose mask a file is by its own stem (`000_mask`, `10301_GT`); None if it is no mask's."""
    found = _MASK_SUFFIX.match(stem)
    return found.group(1) if found else None
