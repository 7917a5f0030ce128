"""A flow whose matrices are multiplied in bfloat16: close to float32's, the same every time, and not the default."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from irp_core.config import DifferNetParams, Params, Training
from irp_core.detectors import DifferNet
from irp_core.detectors.folds import fold_by_fold
from irp_core.detectors.normalizing_flow import Coupling, low_precision
from irp_core.features.feature_set import FeatureSet
from tasks.versions.lineage import result_params

IMAGES = FeatureSet(np.random.default_rng(0).normal(1.0, 2.0, (30, 2, 12)).astype(np.float32))


def make(precision: str) -> DifferNet:
    training = Training.model_validate({"precision": precision, "batch_size": 16, "learning_rate": 2e-3})
    return DifferNet(12, DifferNetParams(blocks=3, hidden=32), training, torch.device("cpu"))


def scores(precision: str) -> NDArray[np.float64]:
    detector = make(precision)
    detector.fit(IMAGES, epochs=12, seed=4)
    return detector.score(IMAGES)


def test_bfloat16_learns_what_float32_learns_and_the_same_every_time() -> None:
    exact, low = scores("float32"), scores("bfloat16")
    assert (low == scores("bfloat16")).all()
    assert (low != exact).any(), "bfloat16 was not used"
    untrained = make("float32")
    untrained.fit(IMAGES, epochs=0, seed=4)
    moved = np.abs(np.log(untrained.score(IMAGES) / exact)).mean()
    assert np.abs(np.log(low / exact)).mean() < 0.05 * moved


def test_only_products_are_rounded() -> None:
    """One coupling, forwards and backwards: bfloat16's 8 bits in the subnets, all else and the gradients in float32."""
    generator = torch.Generator().manual_seed(0)
    coupling = Coupling(12, 64, 3.0, generator)
    y = torch.randn(50, 12, generator=generator)
    gradients, outputs = [], []
    for products in (torch.float32, torch.bfloat16):
        coupling.zero_grad()
        with low_precision(y.device, products):
            z, log_det = coupling(y)
        assert z.dtype == log_det.dtype == torch.float32
        (z.square().sum() - log_det.sum()).backward()
        outputs.append(z.detach())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in coupling.parameters()]))  # type: ignore[union-attr]
    assert gradients[1].dtype == torch.float32
    assert 0 < (outputs[1] - outputs[0]).norm() / outputs[0].norm() < 2**-7
    assert 0 < (gradients[1] - gradients[0]).norm() / gradients[0].norm() < 2**-5


def test_folds_side_by_side_are_rounded_too() -> None:
    folds = np.arange(30) % 3
    reference = fold_by_fold(lambda: make("bfloat16"), IMAGES, folds, epochs=3, seed=1)
    together = make("bfloat16").score_out_of_fold(IMAGES, folds, epochs=3, seed=1)
    exact = make("float32").score_out_of_fold(IMAGES, folds, epochs=3, seed=1)
    assert (together != exact).any()
    np.testing.assert_allclose(together, reference, rtol=0.02)


def test_weights_are_float32_and_a_saved_flow_scores_the_same(tmp_path: Path) -> None:
    detector = make("bfloat16")
    detector.fit(IMAGES, epochs=1, seed=0)
    detector.save(tmp_path)
    weights = load_file(tmp_path / "weights.safetensors")
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float32}
    loaded = DifferNet.load(tmp_path)
    assert loaded.training.precision == "bfloat16"
    assert (loaded.score(IMAGES) == detector.score(IMAGES)).all()


@pytest.mark.parametrize("precision", ["float32", "auto", "bfloat16"])
def test_the_default_leaves_the_ids_of_earlier_runs(precision: str, tmp_path: Path) -> None:
    named = precision != "float32"
    params = Params(training=Training.model_validate({"precision": precision}))
    assert ("precision" in result_params(params)["training"]) is named
    detector = make(precision)
    detector.fit(IMAGES, epochs=1, seed=0)
    detector.save(tmp_path)
    assert ("precision" in json.loads((tmp_path / "detector.json").read_text())["training"]) is named
