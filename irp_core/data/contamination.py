"""The noise protocols: which images train, which test, and which defects are injected.

Manifest in, manifest out. The defect pool is a share of the defective images, disjoint from the test
ones unless `overlap`; copies of one file (same md5), and near-copies, always stay on one side. Where the layout's
own training split holds defective images (KolektorSDD2), these are the pool and the test split stays whole.

With `dataset.split: hash` the test split stays as it is while images are added (`irp_core.data.split`), and an
unlabelled set has one, too: images on which two models can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.config import Contamination, Dataset
from irp_core.data.split.hash_split import hash_held_out
from irp_core.errors import InputError

__all__ = ["contaminate", "content_groups"]


def contaminate(
    manifest: pd.DataFrame,
    dataset: Dataset,
    noise: Contamination,
    *,
    seed: int,
    near_copies: pd.DataFrame | None = None,
    golden: Collection[str] = (),
    known: Mapping[str, bool] | None = None,
) -> pd.DataFrame:
    """Assign every row to `train`, `test`, `both` (only with `overlap`) or `unused` and mark the injected defects.

    Protocols, with share p = `noise.fraction`:
    `fraction_of_set` trains on `set_size` images of which round(p * size) are defective; the size is the
    largest for which both pools suffice (at `max_fraction`, so that a sweep has one size; and at p = 0).
    `fraction_added` keeps all good training images and adds round(p * that many) defects.
    `fraction_of_defects` keeps all good training images and adds round(p * pool) defects.

    The split and the order of the pools depend on `seed` alone, not on p: a larger p injects a superset.

    Args:
        near_copies: columns `group` and `md5`, of images that belong together like copies of one file.
        golden: md5 of golden images, and of what is a near-copy of one (`Scan.golden`): they are `unused`.
        known: of `dataset.split: hash`: the sides of an earlier split of this set (`hash_split.sides`), which stand.

    Raises:
        InputError: labels are needed and absent, or a pool is too small (says how many are missing).

    Example:
        >>> names = [f"{kind}/{i}.png" for kind in ("good", "bad") for i in range(10)]
        >>> manifest = pd.DataFrame({"image_id": names, "md5": names, "split": "unassigned", "injected": False})
        >>> manifest["label"] = ["good"] * 10 + ["defective"] * 10
        >>> noisy = contaminate(manifest, Dataset(), Contamination(fraction=0.2), seed=0)
        >>> noisy.groupby(["split", "label"]).size().to_dict()  # doctest: +NORMALIZE_WHITESPACE
        {('test', 'defective'): 5, ('test', 'good'): 2, ('train', 'defective'): 2, ('train', 'good'): 8,
         ('unused', 'defective'): 3}
    """
    result = manifest.sort_values("image_id", ignore_index=True).copy()
    result.loc[result["md5"].isin(list(golden)), "split"] = "unused"
    content = content_groups(result["md5"], near_copies)
    by_hash = dataset.split == "hash"
    if result["label"].isna().all():
        if noise.fraction > 0:
            raise InputError(
                f"contamination.fraction needs labelled images (a sub-folder named good). "
                f"Got {noise.fraction} for an unlabelled data set."
            )
        if by_hash:
            rows = np.flatnonzero(result["split"] == "train")
            result.loc[_hashed(result, content, rows, dataset, seed, known), "split"] = "test"
        return result
    rng = np.random.default_rng([seed, 0])
    good = (result["label"] == "good").to_numpy()
    free = (result["split"] == "unassigned").to_numpy()
    result.loc[free, "split"] = "train"
    rows = np.flatnonzero(free & good)
    if by_hash:
        held_out = _hashed(result, content, rows, dataset, seed, known)
    else:
        held_out = _grouped_sample(content, rows, dataset.test_fraction, rng)
    result.loc[held_out, "split"] = "test"
    result.loc[free & ~good, "split"] = "test"

    # What the hash decided stands: a group that grew together later may have members on both sides.
    decided = free & good & by_hash
    tested = content.isin(content[(result["split"] == "test") & ~decided]).to_numpy()
    train_good = good & (result["split"] == "train").to_numpy()
    # Only a given split can put copies of one file on both sides; the test set is the yardstick and keeps its own.
    leaked = train_good & tested
    result.loc[leaked, "split"] = "unused"
    good_pool = rng.permutation(np.flatnonzero(train_good & ~leaked))

    given = ~good & (result["split"] == "train").to_numpy()
    if given.any():  # they train only if they are drawn from the pool
        result.loc[given, "split"] = "unused"
        defect_pool = rng.permutation(np.flatnonzero(given & ~tested))
    else:
        defects = np.flatnonzero(~good & (result["split"] == "test").to_numpy())
        defect_pool = _grouped_sample(content, defects, noise.defect_pool, rng)
        if not noise.overlap:
            result.loc[defect_pool, "split"] = "unused"
    n_good, n_bad = _counts(len(good_pool), len(defect_pool), noise)

    result.loc[good_pool[n_good:], "split"] = "unused"
    injected = defect_pool[:n_bad]
    result.loc[injected, "split"] = "both" if noise.overlap else "train"
    result.loc[injected, "injected"] = True
    return result


def _hashed(
    manifest: pd.DataFrame,
    content: pd.Series,
    rows: NDArray[np.int64],
    dataset: Dataset,
    seed: int,
    known: Mapping[str, bool] | None,
) -> NDArray[np.int64]:
    """Those of `rows` that are held out."""
    md5 = manifest["md5"].iloc[rows]
    held_out: NDArray[np.int64] = rows[hash_held_out(md5, content.iloc[rows], dataset.test_fraction, seed, known)]
    return held_out


def content_groups(md5: pd.Series, near_copies: pd.DataFrame | None) -> pd.Series:
    """What each image shows, as a digest (n,): equal for copies of one file and for near-copies.

    Args:
        md5: of the images' bytes (n,).
        near_copies: columns `group` and `md5`; None for none.
    """
    if near_copies is None or near_copies.empty:
        return md5
    group_of = near_copies.drop_duplicates("md5").set_index("md5")["group"]
    return md5.map(group_of).fillna(md5)


def _grouped_sample(
    content: pd.Series, rows: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A random `fraction` of `rows` in random order, whole groups of equal `content` at a time."""
    wanted = round(fraction * len(rows))
    groups = list(content.loc[rows].groupby(content.loc[rows], sort=False).indices.values())
    drawn: list[int] = []
    for index in rng.permutation(len(groups)):
        if len(drawn) + len(groups[index]) > wanted:
            continue
        drawn.extend(rows[groups[index]])
    return np.array(drawn, dtype=np.int64)


def _counts(goods: int, bads: int, noise: Contamination) -> tuple[int, int]:
    """(good, defective) training images under the protocol, or an error that says what is missing."""
    p = noise.fraction
    if noise.protocol == "fraction_of_set":
        size = noise.set_size or _largest_set(goods, bads, noise)
        n_bad = round(p * size)
        n_good = size - n_bad
    else:
        n_good = goods if noise.set_size is None else noise.set_size
        n_bad = round(p * (n_good if noise.protocol == "fraction_added" else bads))
    for kind, wanted, pool in (("good", n_good, goods), ("defective", n_bad, bads)):
        if wanted > pool:
            raise InputError(
                f"contamination.{noise.protocol} at fraction {p} needs {wanted} {kind} training images, "
                f"found {pool} in the pool: {wanted - pool} are missing."
            )
    if n_good + n_bad == 0:
        raise InputError("contamination leaves no training image: the data set has no good images to train on.")
    return n_good, n_bad


def _largest_set(goods: int, bads: int, noise: Contamination) -> int:
    if noise.max_fraction is not None:  # a sweep from 0 to max_fraction
        return min(goods, math.floor(bads / noise.max_fraction))
    p = noise.fraction
    size = math.floor(goods / (1.0 - p)) if p < 1.0 else bads
    if p > 0.0:
        size = min(size, math.floor(bads / p))
    # Rounding p * size may ask for one image too many.
    while size > 0 and (size - round(p * size) > goods or round(p * size) > bads):
        size -= 1
    return size
