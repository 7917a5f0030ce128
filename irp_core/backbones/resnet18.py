"""ResNet-18 (He et al., CVPR 2016) up to layer 3, with batch norm folded into the convolutions."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irp_core.backbones.weights import fill, read_state

__all__ = ["RESNET18_SHA256_PREFIX", "RESNET18_URL", "ResNet18", "fold_batch_norm", "load_resnet18"]

RESNET18_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
RESNET18_SHA256_PREFIX = "f37072fd"


class _Block(nn.Module):
    """Basic residual block without batch norm: relu(conv2(relu(conv1 x)) + shortcut x)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        residual: Tensor = self.conv2(F.relu(self.conv1(x)))
        return F.relu(residual + shortcut)


class ResNet18(nn.Module):
    """Stem and the first `depth` of layers 1 to 3 (64, 128, 256 channels at strides 4, 8, 16).

    Example:
        >>> maps = ResNet18(depth=2)(torch.zeros(1, 3, 64, 64))
        >>> {name: tuple(values.shape) for name, values in maps.items()}
        {'layer1': (1, 64, 16, 16), 'layer2': (1, 128, 8, 8)}
    """

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3)
        channels = (64, 64, 128, 256)
        for layer in range(1, depth + 1):
            inputs, outputs = channels[layer - 1], channels[layer]
            first = _Block(inputs, outputs, stride=1 if layer == 1 else 2)
            self.add_module(f"layer{layer}", nn.Sequential(first, _Block(outputs, outputs, 1)))
        self.layers = [f"layer{layer}" for layer in range(1, depth + 1)]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (n, 3, height, width) → {"layer1": (n, 64, h/4, w/4), …} for every layer it has."""
        x = F.max_pool2d(F.relu(self.conv1(images)), 3, 2, 1)
        maps = {}
        for name in self.layers:
            x = getattr(self, name)(x)
            maps[name] = x
        return maps


def load_resnet18(path: Path, depth: int = 3) -> ResNet18:
    """ResNet-18 from torchvision's state dict (batch norm is folded here) or from an already folded one."""
    network = ResNet18(depth)
    state = read_state(path)
    if "bn1.weight" in state:
        state = fold_batch_norm(state)
    fill(network, state, path, "torchvision's resnet18, or one with batch norm folded,")
    return network


def fold_batch_norm(state: dict[str, Tensor], eps: float = 1e-5) -> dict[str, Tensor]:
    """Fold every batch norm of torchvision's resnet18 into the convolution before it.

    With g, b, m, v the norm's weight, bias, running mean and variance: w' = w·g/√(v+eps), b' = b - m·g/√(v+eps).
    """
    folded = {}
    for name, weight in state.items():
        if weight.ndim != 4:
            continue
        convolution = name.removesuffix(".weight")
        norm = _norm_of(convolution)
        scale = state[f"{norm}.weight"].double() / torch.sqrt(state[f"{norm}.running_var"].double() + eps)
        folded[name] = (weight.double() * scale[:, None, None, None]).float()
        shift = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale
        folded[f"{convolution}.bias"] = shift.float()
    return folded


def _norm_of(convolution: str) -> str:
    """torchvision's naming: conv1 → bn1, downsample.0 → downsample.1."""
    if convolution.endswith("downsample.0"):
        return convolution.removesuffix("0") + "1"
    return convolution[:-5] + "bn" + convolution[-1]
