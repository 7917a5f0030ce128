"""The paper's maps: how strongly the score answers to each pixel (Rudolph et al., DifferNet, WACV 2021, section 3.4).

The gradient of the score with respect to the input, through the frozen network. It says where a change would matter,
not where something is odd, and is far behind a distribution per position (docs/maps.md): it is here to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from irp_core.detectors.protocol import ScoreGradient
from irp_core.features.pooled import PooledExtractor, normalize
from irp_core.localisation.scale import Cells

__all__ = ["input_gradient", "input_gradient_cells"]

_QUARTERS = 4  # turns by 90° are exact, there and back


def input_gradient(network: PooledExtractor, detector: ScoreGradient, pixels: NDArray[np.uint8]) -> Tensor:
    """∂score/∂input of each view (n, 3, height, width), where a view's score is that of an image with this view alone.

    Args:
        pixels: uint8 (n, height, width, 3). The input is what the network is shown, `normalize` of the pixels.
    """
    images = normalize(torch.from_numpy(np.array(pixels)).to(network.device)).requires_grad_()
    pooled = network.pooled(images)
    toward = detector.score_gradient(pooled.detach()).to(pooled.dtype)
    (gradient,) = torch.autograd.grad(pooled, images, grad_outputs=toward)
    return gradient


def input_gradient_cells(
    network: PooledExtractor, detector: ScoreGradient, upright: Sequence[NDArray[np.uint8]], cell: int = 8
) -> Cells:
    """A map (n, rows, columns) of each upright view: the gradient's size, summed over the colours, averaged over the
    view's four quarter turns and over cells of `cell` pixels. Smoothed by `irp_core.localisation.scale.view_map`.

    Example:
        >>> from irp_core.backbones import load_backbone
        >>> from irp_core.config import DifferNetParams, Training
        >>> from irp_core.detectors import DifferNet
        >>> from irp_core.features.feature_set import FeatureSet
        >>> cpu, shape = torch.device("cpu"), DifferNetParams(blocks=2, hidden=8)
        >>> detector = DifferNet(256, shape, Training(), cpu)
        >>> views = np.random.default_rng(0).normal(size=(8, 1, 256)).astype(np.float32)
        >>> _ = detector.fit(FeatureSet(views), epochs=1, seed=0)
        >>> network = PooledExtractor(load_backbone("bundled", None), (64,), cpu, torch.float32)
        >>> input_gradient_cells(network, detector, [np.zeros((64, 64, 3), dtype=np.uint8)]).shape
        (1, 8, 8)
    """
    found = []
    for view in upright:
        turned = 0.0
        for quarters in range(_QUARTERS):
            gradient = input_gradient(network, detector, np.rot90(view, quarters)[None])
            size = gradient.abs().sum(dim=1).cpu().numpy()[0]
            turned = turned + np.rot90(size, -quarters)
        height, width = view.shape[:2]
        mean = torch.from_numpy(np.ascontiguousarray(turned / _QUARTERS))[None, None]
        found.append(F.adaptive_avg_pool2d(mean, (max(1, height // cell), max(1, width // cell)))[0, 0].numpy())
    return np.stack(found).astype(np.float32)
