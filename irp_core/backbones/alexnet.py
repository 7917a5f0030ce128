"""AlexNet's convolutional part (Krizhevsky 2014, "one weird trick"), the paper's feature extractor."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from irp_core.backbones.weights import fill, read_state

__all__ = ["ALEXNET_SHA256_PREFIX", "ALEXNET_URL", "AlexNet", "load_alexnet"]

# torchvision's published weights; the file name carries the first eight digits of its sha256.
ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
ALEXNET_SHA256_PREFIX = "7be5be79"


class AlexNet(nn.Module):
    """torchvision's `alexnet().features`, with its parameter names (`features.0.weight`, …).

    Example:
        >>> import torch
        >>> maps = AlexNet()(torch.zeros(1, 3, 128, 128))
        >>> tuple(maps["conv2"].shape), tuple(maps["features"].shape)
        ((1, 192, 15, 15), (1, 256, 3, 3))
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (n, 3, height, width) of at least 63 pixels → maps.

        "conv2" (n, 192, height/8, width/8) and "features" (n, 256, height/32, width/32).
        """
        conv2 = self.features[:5](images)
        return {"conv2": conv2, "features": self.features[5:](conv2)}


def load_alexnet(path: Path) -> AlexNet:
    """AlexNet with the weights of torchvision's state dict at `path` (the classifier is passed over)."""
    network = AlexNet()
    fill(network, read_state(path), path, "torchvision's alexnet")
    return network
