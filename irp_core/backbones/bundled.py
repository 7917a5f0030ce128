"""The encoder that travels with the package: a narrow residual network distilled from an ImageNet ResNet-18.

Its two maps imitate the teacher's ``layer2`` (stride 8) and ``layer3`` (stride 16). How it was made, on which images,
and what it reaches stands in ``training/README.md``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

__all__ = ["BUNDLED_PATH", "BUNDLED_SHA256", "BundledEncoder", "load_bundled"]

BUNDLED_PATH = Path(__file__).parent / "weights" / "bundled.safetensors"
BUNDLED_SHA256 = "ffcdbd11e12fe6592b64ee68b610f4623456dc72f350a05468da61a0ee57aed9"

STEM = 40
STREAM = (64, 64, 128, 128, 256, 256)
INNER = (24, 24, 32, 32, 56, 56)
STRIDE = (1, 1, 2, 1, 2, 1)


class NarrowBlock(nn.Module):
    """Residual block of He et al. (2016, "basic") whose two 3x3 convolutions meet in a narrow inner width.

    ``(N, channels_in, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride))``. Batch norm is folded away: every
    convolution has a bias.
    """

    def __init__(self, channels_in: int, inner: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, inner, 3, stride, 1)
        self.conv2 = nn.Conv2d(inner, channels, 3, 1, 1)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(F.relu(self.conv1(x), inplace=True))
        out += self.shortcut(x)  # in place, here and below: at these widths memory traffic is a good part of the time
        return F.relu(out, inplace=True)


class BundledEncoder(nn.Module):
    """The student: ResNet-18's residual skeleton up to ``layer3``, made about three times cheaper.

    The residual streams keep the teacher's 64, 128 and 256 channels, so that every stage can be fitted to the
    teacher's; the stem and the inside of each block are narrow, because that is where the time goes.

    Example:
        >>> maps = BundledEncoder()(torch.zeros(1, 3, 64, 96))
        >>> tuple(maps["layer2"].shape), tuple(maps["layer3"].shape)
        ((1, 128, 8, 12), (1, 256, 4, 6))
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 7, 2, 3)
        self.widen = nn.Conv2d(STEM, STREAM[0], 1)
        widths_in = (STREAM[0], *STREAM[:-1])
        self.blocks = nn.ModuleList(map(NarrowBlock, widths_in, INNER, STREAM, STRIDE))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Encode images into two dense maps.

        Args:
            images: ``(N, 3, H, W)`` float, RGB in [0, 1] normalised by ImageNet's mean and standard deviation;
                H and W at least 32.

        Returns:
            ``"layer2"``: ``(N, 128, ceil(H / 8), ceil(W / 8))`` and ``"layer3"``: ``(N, 256, ceil(H / 16),
            ceil(W / 16))``, both non-negative.
        """
        streams = self.streams(images)
        return {"layer2": streams[4], "layer3": streams[6]}

    def streams(self, images: Tensor) -> list[Tensor]:
        """The residual stream after the stem and after each of the six blocks; training fits all of them."""
        # channels_last: PyTorch's max pooling and narrow convolutions are markedly faster with it on CPU
        x = images.contiguous(memory_format=torch.channels_last)
        x = F.relu(
            F.max_pool2d(self.stem(x), 3, 2, 1), inplace=True
        )  # after pooling: the same maps, a quarter of the work
        streams = [F.relu(self.widen(x), inplace=True)]
        for block in self.blocks:
            streams.append(block(streams[-1]))
        return streams


def load_bundled(path: Path = BUNDLED_PATH) -> BundledEncoder:
    """Load the packaged weights: frozen, in evaluation mode, float32, on the CPU.

    Args:
        path: the weight file; any file other than the packaged one is refused by its hash.

    Raises:
        ValueError: the file's sha256 is not `BUNDLED_SHA256`.
        FileNotFoundError: there is no such file.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != BUNDLED_SHA256:
        raise ValueError(f"The weights in '{path}' must have sha256 {BUNDLED_SHA256}. Got {found} instead.")
    with torch.device("meta"):  # no random initialisation: the global generator stays as it was
        encoder = BundledEncoder()
    state = {name: tensor.float() for name, tensor in load(content).items()}
    for name, tensor in state.items():
        if tensor.dim() == 4:
            state[name] = tensor.contiguous(memory_format=torch.channels_last)
    encoder.load_state_dict(state, assign=True)
    return encoder.eval().requires_grad_(False)
