"""From image files to rows in the store: decoding ahead of the network, in batches of one shape.

A `NetworkPass` is one showing of views to the network; all features that are read at its side come from it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import tee
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from irp_core.batches.lanes import Lanes
from irp_core.batches.sizes import alike_sizes, padded_size
from irp_core.config import Images, Params
from irp_core.errors import InputError
from irp_core.features.feature_set import Local
from irp_core.features.images import decode, resized
from irp_core.features.local import LocalFeature, halved
from irp_core.features.pooled import PooledExtractor
from irp_core.features.store import FeatureStore, Key, StoreUse
from irp_core.features.view_bank import view_bank, views
from irp_core.packed.images import read_image

__all__ = ["Feature", "NetworkPass", "extract", "network_passes", "rows_of"]

Feature = Literal["pooled"] | Local
Rows = NDArray[Any]
Pixels = NDArray[np.uint8]
_T = TypeVar("_T")
_R = TypeVar("_R")
_SEGMENT_IMAGES = 32


class NetworkPass:
    """One showing of views to the network: uint8 (n, height, width, 3) → rows (n, numbers) of each of `features`.

    Args:
        local: features that are read at one side; with `pooled` at the first of the pooled features' sides.
        pooled: whether the pooled features are made, too.
        stored: the type of the rows; of cells it is float16 anyway.
    """

    def __init__(
        self, network: PooledExtractor, local: Sequence[LocalFeature], *, pooled: bool = False, stored: str = "float32"
    ) -> None:
        self._network, self._local, self._pooled, self._stored = network, tuple(local), pooled, stored
        names: list[Feature] = [one.name for one in local]
        self.features: tuple[Feature, ...] = ("pooled", *names) if pooled else tuple(names)
        self.small_batches: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._lanes: Lanes | None = None
        self._full = 0  # views of a full batch, where there are lanes

    def find_small_batches(self, shapes: Collection[tuple[int, int]], full: int, lanes: Lanes | None = None) -> None:
        """Look for batches of fewer than `full` views of each shape (height, width) that give the same bits.

        `rows_of` uses what is found. Costs a few batches: for what scores image after image. In bfloat16 none is looked
        for: its rounding hides another order of summation from all but one view in about a hundred, so that no probe
        of a bearable size shows it.

        Args:
            lanes: in which they are computed, if they have the same bits there.
        """
        probes = [
            np.random.default_rng(0).integers(0, 256, (full, *shape, 3), dtype=np.uint8) for shape in sorted(shapes)
        ]
        wholes = [self._joined(probe) for probe in probes]
        self._lanes, self._full, joined = None, full, self._joined
        if lanes is not None and all(map(np.array_equal, lanes.map(self._joined, probes), wholes)):
            self._lanes, joined = lanes, lambda pixels: lanes.map(self._joined, [pixels])[0]
        if self._network.precision != torch.float32:
            self.small_batches = {}
            return
        for probe, whole in zip(probes, wholes, strict=True):
            self.small_batches[probe.shape[1:]] = alike_sizes(joined, probe, whole)

    def batch_size(self, pixels: Sequence[Pixels], full: int) -> int:
        """Views of a batch, of those that are to be computed now: as many as keep every lane at work, or `full`."""
        if self._lanes is None or not pixels:
            return full
        known = [set(self.small_batches.get(shape, ())) for shape in {view.shape for view in pixels}]
        return padded_size(-(-len(pixels) // self._lanes.count), full, tuple(sorted(set.intersection(*known))))

    def each(self, batches: Iterable[Pixels]) -> Iterable[dict[Feature, Rows]]:
        """The rows of each batch, in their order; side by side where there are lanes and more batches than one.

        A batch alone is computed on all cores, as `extract` does it, if it is a full one: of those alone it is known
        that lanes give the same bits.
        """
        if self._lanes is None:
            return map(self, batches)
        gathered = list(batches)
        alone = len(gathered) == 1 and len(gathered[0]) == self._full
        return map(self, gathered) if alone else self._lanes.map(self, gathered)

    def _joined(self, pixels: Pixels) -> Rows:
        return np.concatenate([rows.astype(np.float64) for rows in self(pixels).values()], axis=1)

    def __call__(self, pixels: Pixels) -> dict[Feature, Rows]:
        rows: dict[Feature, Rows] = {}
        if self._pooled:
            rows["pooled"], maps = self._network.with_maps(pixels)
        else:
            maps = self._network.maps(pixels, self._local[0].scale)
        with torch.inference_mode():
            for feature in self._local:
                rows[feature.name] = feature.read(maps).cpu().contiguous().numpy()
        return rows if self._stored == "float32" else {name: halved(found) for name, found in rows.items()}


def network_passes(
    network: PooledExtractor, local: Sequence[LocalFeature], stored: str = "float32"
) -> tuple[NetworkPass, list[NetworkPass]]:
    """(pass over all views, passes over the upright view): as few as the sides at which features are read.

    The first gives the pooled features and the local ones that are read at its first side; the others together give
    every local feature, for images whose pooled features are known already.
    """
    by_side: dict[int, list[LocalFeature]] = {}
    for feature in local:
        by_side.setdefault(feature.scale, []).append(feature)
    first = NetworkPass(network, by_side.get(network.scales[0], []), pooled=True, stored=stored)
    return first, [NetworkPass(network, features, stored=stored) for features in by_side.values()]


def rows_of(network_pass: NetworkPass, pixels: Sequence[Pixels], batch: int) -> dict[Feature, Rows]:
    """Rows (len(pixels), numbers) of views in memory, with the bits that `extract` gives them."""
    found: dict[Feature, list[Rows]] = {name: [np.empty(0)] * len(pixels) for name in network_pass.features}
    work = iter([(list(range(len(pixels))), list(pixels))])
    size = network_pass.batch_size(pixels, batch)
    asked, shown = tee(_batches(work, size, network_pass.small_batches))
    for (places, _), rows_by_name in zip(asked, network_pass.each(views_ for _, views_ in shown), strict=True):
        for name, rows in rows_by_name.items():
            for place, row in zip(places, rows, strict=False):  # the rest of a batch is padding
                found[name][place] = row
    return {name: np.stack(rows) for name, rows in found.items()}


def extract(
    rows: pd.DataFrame,
    root: Path,
    stores: Mapping[Feature, FeatureStore],
    network_pass: NetworkPass,
    params: Params,
    *,
    only: Mapping[Local, Collection[str]] = MappingProxyType({}),
    progress: Callable[[int, int], None] | None = None,
) -> StoreUse:
    """Fill the stores of a pass's features with what they lack of the images in `rows`.

    Of the pooled features that is the whole bank of views, of local ones the upright view.

    Threads decode and transform ahead of the network. The network always sees batches of
    `features.batch_size` views (the last is padded): the kernels of the linear-algebra library, and with
    them the last bit of a feature, depend on the batch's shape, and must not depend on where a run was killed.

    Args:
        rows: `image_id` and `md5` of images below `root`.
        only: local features that are wanted of some images alone → the md5s of these.

    Returns:
        How many images the stores held everything of, and how many went through the network.

    Raises:
        InputError: a file vanished or changed since the manifest was made.
    """
    lacking: dict[Feature, set[Key]] = {}
    for name in network_pass.features:
        stores[name].refresh()
        stores[name].compact()
        some = only.get(name) if name != "pooled" else None
        wished = rows["md5"] if some is None else rows.loc[rows["md5"].isin(list(some)), "md5"]
        lacking[name] = set(stores[name].missing(wished, params.views.bank if name == "pooled" else 1))
    missing: dict[str, list[int]] = {}
    wanted = set().union(*lacking.values())
    for md5 in dict.fromkeys(rows["md5"]):
        if needed := [view for view in range(params.views.bank) if (md5, view) in wanted]:
            missing[md5] = needed
    use = StoreUse(hits=rows["md5"].nunique() - len(missing), misses=len(missing))
    if not missing:
        return use
    bank = view_bank(params.views, params.views.bank)
    paths = dict(zip(rows["md5"], rows["image_id"], strict=True))
    total = sum(len(needed) for needed in missing.values())
    work = [(md5, root / paths[md5], needed) for md5, needed in missing.items()]

    def prepare(item: tuple[str, Path, list[int]]) -> tuple[list[Key], list[Pixels]]:
        md5, path, needed = item
        pixels = views(_load(path, md5, params.images), [bank[v] for v in needed])
        return [(md5, v) for v in needed], pixels

    pending: dict[Feature, list[tuple[Key, Rows]]] = {name: [] for name in network_pass.features}

    def store() -> None:
        for name, found in pending.items():
            if found:
                stores[name].append([key for key, _ in found], np.stack([row for _, row in found]))
                stores[name].compact()
                found.clear()

    prepared = _ahead(prepare, work, workers=params.features.workers)
    for done, (keys, batch) in enumerate(_batches(prepared, params.features.batch_size), start=1):
        for name, found in network_pass(batch).items():
            pending[name] += [pair for pair in zip(keys, found, strict=False) if pair[0] in lacking[name]]
        if any(len({md5 for (md5, _), _ in found}) >= _SEGMENT_IMAGES for found in pending.values()):
            store()
        if progress:
            progress(min(done * params.features.batch_size, total), total)
    store()
    return use


def _load(path: Path, md5: str, images: Images) -> Image.Image:
    try:
        content = read_image(path, images.max_bytes)
    except InputError as error:
        raise InputError(f"{path}: {error}; it was readable when the manifest was made.") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise InputError(f"{path}: its content changed since the manifest was made (expected md5 {md5}).")
    try:
        return resized(decode(content, images), images.shape, images.crop)
    except InputError as error:  # the manifest was made with other settings
        raise InputError(f"{path}: {error}.") from None


def _ahead(function: Callable[[_T], _R], items: Sequence[_T], *, workers: int) -> Iterator[_R]:
    """Ordered map over threads, a few items ahead of the consumer (a plain `map` would decode the whole set)."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[_R]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 4 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _batches(
    prepared: Iterator[tuple[list[_T], list[Pixels]]],
    size: int,
    small: Mapping[tuple[int, ...], tuple[int, ...]] = MappingProxyType({}),
) -> Iterator[tuple[list[_T], Pixels]]:
    """Regroup per-image views into batches of exactly `size` views of one shape, with the keys of those that count.

    The last batch of each shape repeats its last view, up to `size` or to a size of `small`, by shape, that will do.
    """
    waiting: dict[tuple[int, ...], tuple[list[_T], list[Pixels]]] = {}
    for image_keys, image_pixels in prepared:
        for key, view in zip(image_keys, image_pixels, strict=True):
            keys, pixels = waiting.setdefault(view.shape, ([], []))
            keys.append(key)
            pixels.append(view)
            if len(keys) == size:
                del waiting[view.shape]
                yield keys, np.stack(pixels)
    for shape, (keys, pixels) in waiting.items():
        yield keys, np.stack(pixels + [pixels[-1]] * (padded_size(len(keys), size, small.get(shape, ())) - len(keys)))
