"""Multi-scale pooled features: the frozen network, the sides at which it is shown a view, and their averages.

Each view is shown to the network at every scale; each feature map is averaged over its pixels; the
averages are concatenated: y of len(scales) x channels (768 for AlexNet or ResNet-18 layer 3 at three scales).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from irp_core.backbones import Backbone
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.features.images import shape_at

__all__ = ["PooledExtractor", "extractor_spec", "normalize", "resolve_device", "resolve_precision"]

# ImageNet statistics of RGB in [0, 1], as torchvision's weights expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)

# Version of the numbers: to be raised when decoding, views or pooling change what is stored.
_PIPELINE = 1


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
        **({"dtype": params.features.stored} if params.features.stored != "float32" else {}),
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

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 views (n, height, width, 3) → features (n, scales x channels)."""
        return self.with_maps(pixels)[0]

    @torch.inference_mode()
    def with_maps(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], dict[str, Tensor]]:
        """The same, and the maps of the first scale, from which other features may be read."""
        images = normalize(torch.from_numpy(pixels).to(self.device))
        maps = [self._maps(images, scale) for scale in self.scales]
        features: NDArray[np.float32] = self._pool(maps).cpu().numpy()
        return features, maps[0]

    def _pool(self, maps: Sequence[Mapping[str, Tensor]]) -> Tensor:
        return torch.cat([at[layer].float().mean(dim=(2, 3)) for at in maps for layer in self.backbone.layers], dim=1)

    def pooled(self, images: Tensor) -> Tensor:
        """Normalised images (n, 3, height, width) → features (n, scales x channels), on the device, differentiable."""
        maps = [self._maps(images, scale) for scale in self.scales]
        return self._pool(maps)

    @torch.inference_mode()
    def maps(self, pixels: NDArray[np.uint8], scale: int) -> dict[str, Tensor]:
        """uint8 views (n, height, width, 3) → the network's maps (n, channels, h, w) of them at side `scale`."""
        return self._maps(normalize(torch.from_numpy(pixels).to(self.device)), scale)

    def _maps(self, images: Tensor, scale: int) -> dict[str, Tensor]:
        height, width = images.shape[-2:]
        shape = shape_at((height, width), scale)
        scaled = images if shape == (height, width) else _resize(images, shape)
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.precision == torch.bfloat16):
            maps: dict[str, Tensor] = self._network(scaled)
        return maps


def normalize(pixels: Tensor) -> Tensor:
    """uint8 (n, height, width, 3) → float32 (n, 3, height, width), channels last, ImageNet statistics."""
    mean = torch.tensor(_MEAN, device=pixels.device)
    std = torch.tensor(_STD, device=pixels.device)
    # NHWC memory seen as NCHW is what torch calls channels-last: no copy.
    return ((pixels.float() / 255.0 - mean) / std).permute(0, 3, 1, 2)


def _resize(images: Tensor, shape: tuple[int, int]) -> Tensor:
    # Antialiased, unlike DifferNet's nearest neighbour, which aliases brushed and woven textures.
    return F.interpolate(images, size=shape, mode="bilinear", antialias=True, align_corners=False)
