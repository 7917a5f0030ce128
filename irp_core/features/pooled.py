"""Multi-scale pooled features, and the pipeline that fills the store with these and with `irp_core.features.local`.

Each view is shown to the network at every scale; each feature map is averaged over its pixels; the
averages are concatenated: y of len(scales) x channels (768 for AlexNet or ResNet-18 layer 3 at three scales).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from irp_core.backbones import Backbone
from irp_core.config import Images, Params
from irp_core.errors import InputError
from irp_core.features.images import decode, normalize, square
from irp_core.features.store import FeatureStore, Key, StoreUse
from irp_core.features.view_bank import view_bank, views
from irp_core.regular_file import read_regular

__all__ = [
    "Extractor",
    "PooledExtractor",
    "extract",
    "extractor_spec",
    "resolve_device",
    "resolve_precision",
]

Extractor = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 views (n, size, size, 3) → rows (n, dimensions) for the store."""

_T = TypeVar("_T")
_R = TypeVar("_R")
# Version of the numbers: to be raised when decoding, views or pooling change what is stored.
_PIPELINE = 1
_SEGMENT_IMAGES = 32


def resolve_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        InputError: not a device of this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise InputError(
            f"features.device must be auto or a device of this machine (cpu, cuda, cuda:0). Got {name!r}."
        ) from None
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the processor multiplies it natively: GPUs since Ampere, CPUs with AMX or AVX-512."""
    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.get_device_capability(device)[0] >= 8
        else:
            capabilities = torch.cpu.get_capabilities()
            native = bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def extractor_spec(params: Params, backbone: Backbone, precision: torch.dtype) -> dict[str, object]:
    """Everything that a stored feature depends on, besides the image's bytes and the view's index."""
    altered = params.views.altered()
    return {
        "pipeline": _PIPELINE,
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "layers": list(backbone.layers),
        "image": params.images.pixels(),
        "scales": list(params.features.scales),
        "jitter": [params.views.jitter_degrees, params.views.seed if params.views.jitter_degrees else 0],
        "precision": str(precision).removeprefix("torch."),
        **({"views": {**altered, "seed": params.views.seed}} if altered else {}),
    }


class PooledExtractor:
    """A frozen backbone, applied at several scales and pooled.

    Example:
        >>> from irp_core.backbones import load_backbone
        >>> cpu = torch.device("cpu")
        >>> extractor = PooledExtractor(load_backbone("bundled", None), (64, 32), cpu, torch.float32)
        >>> extractor(np.zeros((3, 64, 64, 3), dtype=np.uint8)).shape  # 256 channels at two scales
        (3, 512)
    """

    def __init__(self, backbone: Backbone, scales: Sequence[int], device: torch.device, precision: torch.dtype) -> None:
        self.backbone = backbone
        self.scales = tuple(scales)
        self.device = device
        self.precision = precision
        self._network = backbone.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 views (n, size, size, 3) → features (n, scales x channels)."""
        images = normalize(torch.from_numpy(pixels).to(self.device))
        pooled: list[Tensor] = []
        for scale in self.scales:
            maps = self._maps(images, scale)
            pooled += [maps[layer].float().mean(dim=(2, 3)) for layer in self.backbone.layers]
        features: NDArray[np.float32] = torch.cat(pooled, dim=1).cpu().numpy()
        return features

    @torch.inference_mode()
    def maps(self, pixels: NDArray[np.uint8], scale: int) -> dict[str, Tensor]:
        """uint8 views (n, size, size, 3) → the network's maps (n, channels, h, w) of them at side `scale`."""
        return self._maps(normalize(torch.from_numpy(pixels).to(self.device)), scale)

    def _maps(self, images: Tensor, scale: int) -> dict[str, Tensor]:
        scaled = images if scale == images.shape[-1] else _resize(images, scale)
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.precision == torch.bfloat16):
            maps: dict[str, Tensor] = self._network(scaled)
        return maps


def _resize(images: Tensor, scale: int) -> Tensor:
    # Antialiased, unlike DifferNet's nearest neighbour, which aliases brushed and woven textures.
    return F.interpolate(images, size=(scale, scale), mode="bilinear", antialias=True, align_corners=False)


def extract(
    rows: pd.DataFrame,
    root: Path,
    store: FeatureStore,
    extractor: Extractor,
    params: Params,
    *,
    views_each: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> StoreUse:
    """Fill the store with the first `views_each` views (None: the whole bank) of the images in `rows` that it lacks.

    Threads decode and transform ahead of the network. The network always sees batches of
    `features.batch_size` views (the last is padded): the kernels of the linear-algebra library, and with
    them the last bit of a feature, depend on the batch's shape, and must not depend on where a run was killed.

    Args:
        rows: `image_id` and `md5` of images below `root`.

    Raises:
        InputError: a file vanished or changed since the manifest was made.
    """
    count = views_each or params.views.bank
    store.refresh()
    store.compact()
    missing: dict[str, list[int]] = {}
    for md5, view in store.missing(rows["md5"], count):
        missing.setdefault(md5, []).append(view)
    use = StoreUse(hits=rows["md5"].nunique() - len(missing), misses=len(missing))
    if not missing:
        return use
    bank = view_bank(params.views, count)
    paths = dict(zip(rows["md5"], rows["image_id"], strict=True))
    total = sum(len(needed) for needed in missing.values())
    work = [(md5, root / paths[md5], needed) for md5, needed in missing.items()]

    def prepare(item: tuple[str, Path, list[int]]) -> tuple[list[Key], NDArray[np.uint8]]:
        md5, path, needed = item
        pixels = views(_load(path, md5, params.images), [bank[v] for v in needed])
        return [(md5, v) for v in needed], pixels

    keys: list[Key] = []
    features: list[NDArray[np.float32]] = []
    prepared = _ahead(prepare, work, workers=params.features.workers)
    for done, (batch_keys, batch) in enumerate(_batches(prepared, params.features.batch_size), start=1):
        features.append(extractor(batch)[: len(batch_keys)])
        keys += batch_keys
        if len(keys) >= _SEGMENT_IMAGES * count:
            store.append(keys, np.concatenate(features))
            store.compact()
            keys, features = [], []
        if progress:
            progress(min(done * params.features.batch_size, total), total)
    if keys:
        store.append(keys, np.concatenate(features))
    return use


def _load(path: Path, md5: str, images: Images) -> Image.Image:
    try:
        content = read_regular(path, images.max_bytes)
    except InputError as error:
        raise InputError(f"{path}: {error}; it was readable when the manifest was made.") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise InputError(f"{path}: its content changed since the manifest was made (expected md5 {md5}).")
    try:
        return square(decode(content, images), images.size, images.crop)
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
    prepared: Iterator[tuple[list[Key], NDArray[np.uint8]]], size: int
) -> Iterator[tuple[list[Key], NDArray[np.uint8]]]:
    """Regroup per-image views into batches of exactly `size` views; the last repeats its last view."""
    keys: list[Key] = []
    pixels: list[NDArray[np.uint8]] = []
    for image_keys, image_pixels in prepared:
        keys += image_keys
        pixels += list(image_pixels)
        while len(keys) >= size:
            yield keys[:size], np.stack(pixels[:size])
            keys, pixels = keys[size:], pixels[size:]
    if keys:
        yield keys, np.stack(pixels + [pixels[-1]] * (size - len(keys)))
