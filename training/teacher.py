"""The teacher: torchvision's ImageNet ResNet-18 up to ``layer3``, batch norm folded into the convolutions."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["Teacher", "load_teacher"]


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride)) if stride > 1 else None

    def inner(self, x: Tensor) -> Tensor:
        """Pre-activation of the first convolution, what a student's inner channels are fitted to."""
        inner: Tensor = self.conv1(x)
        return inner

    def outer(self, x: Tensor) -> Tensor:
        """The block's output before its last ReLU."""
        shortcut = x if self.downsample is None else self.downsample(x)
        outer: Tensor = self.conv2(F.relu(self.conv1(x))) + shortcut
        return outer

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.outer(x))


class Teacher(nn.Module):
    """``(N, 3, H, W)`` normalised images to ``layer2`` (128 channels, stride 8) and ``layer3`` (256, stride 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))

    @property
    def blocks(self) -> list[_Block]:
        """The six residual blocks in order."""
        return [block for layer in (self.layer1, self.layer2, self.layer3) for block in layer]  # type: ignore[misc]

    def stem(self, images: Tensor) -> Tensor:
        """Convolution, ReLU and pooling: the input of the first block, ``(N, 64, H/4, W/4)``."""
        return F.max_pool2d(F.relu(self.conv1(images)), 3, 2, 1)

    def streams(self, images: Tensor) -> list[Tensor]:
        """The residual stream after the stem and after each block, as `BundledEncoder.streams`."""
        streams = [self.stem(images)]
        for block in self.blocks:
            streams.append(block(streams[-1]))
        return streams

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        streams = self.streams(images)
        return {"layer2": streams[4], "layer3": streams[6]}


def load_teacher(path: Path) -> Teacher:
    """Load the teacher from safetensors with torchvision's names; frozen, in evaluation mode."""
    teacher = Teacher()
    teacher.load_state_dict(load_file(path))
    return teacher.eval().requires_grad_(False)
