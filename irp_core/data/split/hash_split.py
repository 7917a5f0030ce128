"""A test split that stays as it is while images are added: an image's side is a hash of its content.

A random split draws again when one image more lies in the folder: of 100 test images of 500, 53 went into the next
training set. For a detector that is retrained night after night that makes every comparison worthless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["hash_held_out", "sides"]


def hash_held_out(
    md5: pd.Series, content: pd.Series, fraction: float, seed: int, known: Mapping[str, bool] | None = None
) -> NDArray[np.bool_]:
    """Which images are held out for testing (n,).

    A content that is known stays where it is. Another one joins the side of the member of its group that was seen
    first, be that a known one or one that comes earlier in `md5`; who is the first of its group goes by the hash.

    Args:
        md5: of the images' bytes (n,), in the order in which they were seen.
        content: what they show (n,): equal for copies and near-copies (`contamination.content_groups`).
        fraction: share that is held out, in [0, 1); in expectation, an image at a time.
        seed: of the hash.
        known: md5 → whether it was held out, of an earlier split, in the order in which these were seen.

    Example:
        >>> names = pd.Series([f"{k:032x}" for k in range(1000)])
        >>> held_out = hash_held_out(names, names, 0.2, seed=0)
        >>> int(held_out.sum()), bool((held_out[:500] == hash_held_out(names[:500], names[:500], 0.2, seed=0)).all())
        (199, True)
    """
    side = dict(known or {})
    of_group: dict[str, bool] = {}
    group_of = dict(zip(md5, content, strict=True))
    for name, held_out in side.items():
        if name in group_of:
            of_group.setdefault(group_of[name], held_out)
    for name, group in group_of.items():
        if name not in side:
            side[name] = of_group.setdefault(group, _position(name, seed) < fraction)
    return np.array([side[name] for name in md5], dtype=bool)


def sides(manifest: pd.DataFrame) -> dict[str, bool]:
    """The side of each content in a manifest that was split: md5 → whether it was held out. Unused images have none."""
    used = manifest[manifest["split"].isin(("train", "test", "both"))]
    return dict(zip(used["md5"], used["split"] == "test", strict=True))


def _position(md5: str, seed: int) -> float:
    """Uniform in [0, 1), the same for this content and seed for ever."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{md5}".encode()).digest()[:8]) / 2**64
