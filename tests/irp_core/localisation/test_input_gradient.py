"""The gradient maps of DifferNet: the very derivative of its score, turned back to where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from irp_core.backbones import Backbone
from irp_core.config import DifferNetParams, Training
from irp_core.detectors import DETECTORS, DifferNet
from irp_core.detectors.protocol import ScoreGradient
from irp_core.features.feature_set import FeatureSet
from irp_core.features.pooled import PooledExtractor, normalize
from irp_core.localisation.input_gradient import input_gradient, input_gradient_cells

CPU = torch.device("cpu")


class Tiny(nn.Module):
    """A smooth network of one layer, in double precision: a finite difference is exact to six digits."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 3, 3, 3, generator=generator), requires_grad=False)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"layer": torch.tanh(nn.functional.conv2d(images, self.weight.to(images.dtype), padding=1))}


@pytest.fixture
def network() -> PooledExtractor:
    return PooledExtractor(Backbone("tiny", Tiny(), ("layer",), ""), (16, 8), CPU, torch.float32)


@pytest.fixture
def detector() -> DifferNet:
    made = DifferNet(10, DifferNetParams(blocks=2, hidden=8), Training(), CPU)
    made.fit(FeatureSet(np.random.default_rng(0).normal(size=(12, 2, 10)).astype(np.float32)), epochs=2, seed=0)
    return made


def test_it_is_the_derivative_of_the_score(network: PooledExtractor, detector: DifferNet) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    found = input_gradient(network, detector, pixels)
    images = normalize(torch.from_numpy(pixels))

    def score(shown: torch.Tensor) -> float:
        pooled = network.pooled(shown)[:, None].detach().numpy()
        return float(detector.score(FeatureSet(pooled)).sum())

    rng = np.random.default_rng(2)
    for _ in range(4):  # along random directions: single pixels drown in single precision
        direction = torch.from_numpy(rng.normal(size=tuple(images.shape)).astype(np.float32))
        step = 1e-2
        measured = (score(images + step * direction) - score(images - step * direction)) / (2 * step)
        assert float((found * direction).sum()) == pytest.approx(measured, rel=2e-2, abs=1e-3)


def test_a_view_does_not_depend_on_those_beside_it(network: PooledExtractor, detector: DifferNet) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    together = input_gradient(network, detector, pixels)
    alone = torch.cat([input_gradient(network, detector, one[None]) for one in pixels])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-7)


def test_turned_images_have_turned_maps(network: PooledExtractor, detector: DifferNet) -> None:
    view = np.random.default_rng(4).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    upright, turned = input_gradient_cells(network, detector, [view, np.ascontiguousarray(np.rot90(view))], cell=4)
    assert upright.shape == (4, 4) and (upright > 0).all()
    assert np.allclose(np.rot90(upright), turned, rtol=1e-3)


def test_differnet_says_its_gradient_and_needs_to_be_fitted() -> None:
    assert [name for name, kind in DETECTORS.items() if issubclass(kind, ScoreGradient)] == ["differnet"]
    with pytest.raises(ValueError, match="fitted detector"):
        DifferNet(4, DifferNetParams(), Training(), CPU).score_gradient(torch.zeros(1, 4))
