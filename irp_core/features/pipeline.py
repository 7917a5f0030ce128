"""From image files to features, by way of the store: fill it once, read it as often as wanted.

`FeaturePipeline` needs the network and the images; what it leaves (`StoredFeatures`) is a small value that is
passed between tasks and processes, and reads the same rows anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.backbones import load_backbone
from irp_core.config import Params, digest
from irp_core.errors import InputError
from irp_core.features.extraction import Feature, extract, network_passes
from irp_core.features.feature_set import BLOCK, FeatureSet, Local, Result
from irp_core.features.local import local_feature, local_spec, row_shape, widened
from irp_core.features.pooled import PooledExtractor, extractor_spec, resolve_device, resolve_precision
from irp_core.features.store import FeatureStore, StoreUse
from irp_core.features.stores.objects import Elsewhere
from irp_core.features.stores.remote_store import RemoteStore

__all__ = ["FeaturePipeline", "Spread", "StoredFeatures", "StoredSet"]

_IN_MEMORY = 512 * 2**20  # bytes of a set that is read as a whole

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""A progress bar: description → a context that gives `advance(done, total)`."""


class Spread(Protocol):
    """Other processes, which compute a function of parts of a set; `shard` images are a part."""

    shard: int

    def each(self, function: Callable[..., Result], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """`function(*one)` of each of `arguments`, in their order; what is handed over is pickled."""
        ...


@dataclass(frozen=True)
class StoredFeatures:
    """Where features lie, and what they were made with.

    Attributes:
        root: directory of the store.
        spec: everything that the pooled features depend on.
        fingerprint: the digest of `spec`.
        local: the same for each local feature that was extracted.
        shapes: the shape of an image's row of each (`irp_core.features.local.row_shape`).
        elsewhere: where `root` is no directory but an address: its objects, and what is kept of them here.
        spread: processes that score the sets that are read, a part each; None: the one that reads them.
    """

    root: str
    spec: dict[str, object]
    fingerprint: str
    local: dict[Local, dict[str, Any]] = field(default_factory=dict)
    shapes: dict[Local, tuple[int, ...]] = field(default_factory=dict)
    elsewhere: Elsewhere | None = field(default=None, compare=False)
    spread: Spread | None = field(default=None, compare=False)

    def read(
        self,
        rows: pd.DataFrame,
        views: int,
        needs: Iterable[Local] = (),
        only: Mapping[Local, Collection[str]] = MappingProxyType({}),
    ) -> FeatureSet:
        """Features of `rows` (column `md5`), in their order: `views` views, and the local features asked for.

        Sets that take more than half a gigabyte stay in the store, and are read where they are used
        (`FeatureSet.blocks`); so do those of which some features are there of some images alone.

        Args:
            only: local features that were extracted of some images alone → the md5s of these (`FeaturePipeline.fill`).

        Raises:
            InputError: the store lacks an image.
            ValueError: local features that were not extracted.
        """
        needs = list(needs)
        if missing := sorted(set(needs) - set(self.local)):
            raise ValueError(f"StoredFeatures.read: {missing} were not extracted.")
        stores = {name: self.store(spec) for name, spec in self.specs(needs).items()}
        some = {name: frozenset(of) for name, of in only.items() if name in needs}
        stored = StoredSet(self, stores, rows["md5"].to_numpy(dtype=object), views, some)
        many = self.spread is not None and len(stored) > self.spread.shard
        return stored if some or many or stored.size > _IN_MEMORY else stored.read()

    def store(self, spec: dict[str, Any]) -> FeatureStore:
        """Opened, the rows of one of the `specs`."""
        return _store(self.root, self.elsewhere, spec)

    def specs(self, needs: Iterable[Local]) -> dict[Feature, dict[str, Any]]:
        """What the pooled features and these local ones depend on, by name."""
        return {"pooled": self.spec, **{need: self.local[need] for need in needs}}


class StoredSet(FeatureSet):
    """A set of images whose features stay in the store: each access reads them, `blocks` reads some at a time.

    What the store holds is finite, so that `check` need not read it.

    It is pickled as the place where it lies: another process reads the same rows.

    Args:
        of: where the features lie.
        stores: of the pooled features and of the local ones asked for.
        md5s: of the images (n,).
        views: how many of each image.
        some: local features that are there of some images alone → the md5s of these.
    """

    def __init__(
        self,
        of: StoredFeatures,
        stores: Mapping[Feature, FeatureStore],
        md5s: NDArray[np.object_],
        views: int,
        some: Mapping[Local, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        # The fields of the frozen data class are properties here.
        self.__dict__.update(_of=of, _stores=stores, _md5s=md5s, _views=views, _some=some, _held={})

    def _with(self, md5s: NDArray[np.object_], views: int) -> StoredSet:
        return StoredSet(self.__dict__["_of"], self.__dict__["_stores"], md5s, views, self.__dict__["_some"])

    def __reduce__(self) -> tuple[Any, ...]:
        of = self.__dict__["_of"]
        root = str(Path(of.root).resolve()) if of.elsewhere is None else of.root
        return _opened, (
            replace(of, root=root, spread=None),
            tuple(self.__dict__["_stores"]),
            self.__dict__["_md5s"],
            self.__dict__["_views"],
            {name: of & frozenset(self.__dict__["_md5s"]) for name, of in self.__dict__["_some"].items()},
        )

    def each_part(self, function: Callable[..., Result], *columns: Sequence[Any]) -> Iterator[Result]:
        """As of any set; where it is spread, other processes compute its parts."""
        spread = self.__dict__["_of"].spread
        if spread is None or len(self) <= spread.shard:
            yield function(self, *columns)
            return
        parts = [slice(start, start + spread.shard) for start in range(0, len(self), spread.shard)]
        yield from spread.each(function, [(self[part], *(column[part] for column in columns)) for part in parts])

    def _read(self, name: Feature) -> Any:
        stores, held = self.__dict__["_stores"], self.__dict__["_held"]
        if name not in stores:
            return None
        if name in held:
            return held[name]
        md5s = self.__dict__["_md5s"].tolist()
        if name == "pooled":
            rows = stores[name].get(md5s, self.__dict__["_views"])
        else:
            rows = stores[name].get(md5s, 1).reshape(len(md5s), *self.__dict__["_of"].shapes[name])
        rows = widened(name, rows)
        if len(md5s) <= BLOCK:
            held[name] = rows
        return rows

    @property
    def pooled(self) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self._read("pooled")
        return rows

    @property
    def patches(self) -> NDArray[np.float32] | None:
        rows: NDArray[np.float32] | None = self._read("patches")
        return rows

    @property
    def kurtosis(self) -> NDArray[np.float32] | None:
        rows: NDArray[np.float32] | None = self._read("kurtosis")
        return rows

    @property
    def cells(self) -> NDArray[np.float16] | None:
        rows: NDArray[np.float16] | None = self._read("cells")
        return rows

    def __len__(self) -> int:
        return len(self.__dict__["_md5s"])

    def __getitem__(self, images: NDArray[np.bool_] | NDArray[np.intp] | slice) -> StoredSet:
        return self._with(self.__dict__["_md5s"][images], self.__dict__["_views"])

    @property
    def dimensions(self) -> int:
        return int(self[slice(0, 1)].pooled.shape[2])

    @property
    def size(self) -> int:
        """In bytes, were it in memory."""
        one = self[slice(0, 1)]
        return len(self) * sum(int(one._read(name).nbytes) for name in self.__dict__["_stores"])

    def read(self) -> FeatureSet:
        """The set in memory."""
        return FeatureSet(**{name: self._read(name) for name in self.__dict__["_stores"]})

    def first_views(self, count: int) -> StoredSet:
        return self._with(self.__dict__["_md5s"], min(count, self.__dict__["_views"]))

    def having(self, needs: tuple[Local, ...]) -> StoredSet:
        some = [of for name, of in self.__dict__["_some"].items() if name in needs]
        if not some:
            return self
        there = frozenset.intersection(*some)
        return self[np.array([md5 in there for md5 in self.__dict__["_md5s"]], dtype=bool)]

    def check(self, caller: str, needs: tuple[Local, ...] = ()) -> None:
        missing = sorted(set(needs) - set(self.__dict__["_stores"]))
        if missing or not len(self):
            raise ValueError(f"{caller} expects images and {list(needs)}. Got {len(self)} images without {missing}.")


def _store(root: str, elsewhere: Elsewhere | None, spec: dict[str, Any]) -> FeatureStore:
    return FeatureStore(Path(root), spec) if elsewhere is None else RemoteStore(elsewhere, spec)


_OPEN = threading.local()  # stores that a thread has opened: to read an index takes longer than to look into it


def _opened(
    of: StoredFeatures,
    names: Sequence[Feature],
    md5s: NDArray[np.object_],
    views: int,
    some: Mapping[Local, frozenset[str]] = MappingProxyType({}),
) -> StoredSet:
    """A set that another process handed over."""
    known: dict[tuple[str, str], FeatureStore] = _OPEN.__dict__.setdefault("stores", {})
    stores: dict[Feature, FeatureStore] = {}
    for name, spec in of.specs([name for name in names if name != "pooled"]).items():
        key = (of.root, digest(spec))
        if key in known:
            known[key].refresh()
        else:
            known[key] = of.store(spec)
        stores[name] = known[key]
    return StoredSet(of, stores, md5s, views, some)


class FeaturePipeline:
    """The configured network, and the store that it fills.

    Args:
        params: sections `images`, `views` and `features`.
        weights: file of the backbone's weights; None for the bundled one.
        needs: local features to extract beside the pooled ones.
        elsewhere: the object store, where `features.store` is an address.

    Raises:
        InputError: weights that do not fit, a device that is not there, an address without its object store.
    """

    def __init__(
        self, params: Params, weights: Path | None, needs: Iterable[Local], elsewhere: Elsewhere | None = None
    ) -> None:
        root = params.features.store
        if params.features.elsewhere and elsewhere is None:
            raise InputError(f"features.store: expected a folder here, found the address {root}.")
        device = resolve_device(params.features.device)
        precision = resolve_precision(params.features.precision, device)
        backbone = load_backbone(params.features.backbone, weights, params.features.layers)
        self._params = params
        network = PooledExtractor(backbone, params.features.scales, device, precision)
        needs = list(needs)
        local = [local_feature(need, backbone, params.features, params.images) for need in needs]
        self._first, self._others = network_passes(network, local, params.features.stored)
        spec = extractor_spec(params, backbone, precision)
        specs = {need: local_spec(need, spec, params.features, backbone, params.images) for need in needs}
        self._stores: dict[Feature, FeatureStore] = {"pooled": _store(root, elsewhere, spec)}
        self._stores |= {need: _store(root, elsewhere, specs[need]) for need in needs}
        shapes = {need: row_shape(need, params.features, params.images) for need in needs}
        fingerprint = self._stores["pooled"].fingerprint
        self.stored = StoredFeatures(root, spec, fingerprint, specs, shapes, elsewhere)

    def fill(
        self,
        rows: pd.DataFrame,
        root: Path,
        what: str,
        bar: Bar | None = None,
        only: Mapping[Local, Collection[str]] = MappingProxyType({}),
    ) -> StoreUse:
        """Extract what the store lacks of the images in `rows`.

        Args:
            rows: `image_id` and `md5` of images below `root`.
            what: named by the progress bar.
            only: local features that are wanted of some images alone → the md5s of these.

        Returns:
            How many images the pooled features were found of, and how many went through the network.

        Raises:
            InputError: a file vanished or changed since the manifest was made.
        """
        shown = bar or (lambda description: nullcontext(lambda done, total: None))
        pooled = self._stores["pooled"]
        pooled.refresh()
        lacking = {md5 for md5, _ in pooled.missing(rows["md5"], self._params.views.bank)}
        use = StoreUse(hits=rows["md5"].nunique() - len(lacking), misses=len(lacking))
        new = rows[rows["md5"].isin(lacking)]
        for network_pass, of in ((self._first, new), *((other, rows) for other in self._others)):
            if len(of):
                with shown(f"Extracting {', '.join(network_pass.features)} ({what})") as advance:
                    extract(of, root, self._stores, network_pass, self._params, only=only, progress=advance)
        for store in self._stores.values():
            store.publish()
        return use
