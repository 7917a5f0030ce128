"""Frozen CNNs. A backbone maps images (n, 3, h, w) to named feature maps; it is never trained here.

Downloads are not made here (the core knows no network): `tasks.fetch.weights` fetches what `WEIGHT_URLS` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from irp_core.backbones.alexnet import ALEXNET_SHA256_PREFIX, ALEXNET_URL, load_alexnet
from irp_core.backbones.bundled import BUNDLED_SHA256, load_bundled
from irp_core.backbones.resnet18 import RESNET18_SHA256_PREFIX, RESNET18_URL, load_resnet18
from irp_core.backbones.weights import freeze
from irp_core.errors import InputError
from irp_core.hashing import file_sha256

__all__ = ["LAYERS", "MIDDLE", "WEIGHT_SOURCES", "Backbone", "load_backbone"]

LAYERS = {
    "alexnet": ("conv2", "features"),
    "resnet18": ("layer1", "layer2", "layer3"),
    "bundled": ("layer2", "layer3"),
}
MIDDLE = {"alexnet": "conv2", "resnet18": "layer2", "bundled": "layer2"}
"""The layer of stride 8: fine enough to show a small spot, deep enough to know more than edges."""
WEIGHT_SOURCES = {
    "alexnet": (ALEXNET_URL, ALEXNET_SHA256_PREFIX),
    "resnet18": (RESNET18_URL, RESNET18_SHA256_PREFIX),
}
"""Published weights: (address, first digits of the file's sha256)."""


@dataclass(frozen=True)
class Backbone:
    """A frozen network, the layers asked of it, and the sha256 of its weights."""

    name: str
    network: nn.Module
    layers: tuple[str, ...]
    weights_sha256: str


def load_backbone(name: str, weights: Path | None, layers: tuple[str, ...] | None = None) -> Backbone:
    """Load a backbone, frozen and in evaluation mode.

    Args:
        name: a key of `LAYERS`.
        weights: the weights file; None for `bundled`, whose file is part of the package.
        layers: maps to use; None for the deepest alone.

    Raises:
        InputError: an unknown layer, or a weights file that is absent or does not fit.

    Example:
        >>> import torch
        >>> backbone = load_backbone("bundled", None)
        >>> maps = backbone.network(torch.zeros(1, 3, 64, 64))
        >>> backbone.layers, tuple(maps["layer3"].shape)
        (('layer3',), (1, 256, 4, 4))
    """
    layers = layers or LAYERS[name][-1:]
    for layer in layers:
        if layer not in LAYERS[name]:
            raise InputError(f"features.layers of backbone {name} must be among {LAYERS[name]}. Got {layer!r}.")
    if name == "bundled":
        return Backbone(name, freeze(load_bundled()), layers, BUNDLED_SHA256)
    if weights is None:
        raise InputError(f"features.weights must name the weights file of backbone {name}. Got none.")
    network: nn.Module
    if name == "alexnet":
        network = load_alexnet(weights)
    else:
        network = load_resnet18(weights, depth=max(int(layer[-1]) for layer in (*layers, MIDDLE[name])))
    return Backbone(name, freeze(network), layers, file_sha256(weights))
