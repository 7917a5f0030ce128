"""The flow: time per epoch, and the default against the paper's width."""

from __future__ import annotations

import numpy as np
import torch

from irp_core.config import DifferNetParams, Training
from irp_core.detectors import DifferNet
from irp_core.features.feature_set import FeatureSet

__all__ = ["BENCHMARKS"]

IMAGES, WIDTHS = 300, {128: 4, 2048: 1}
"""Epochs by width: the default's, and the paper's."""


def epochs() -> list[tuple[str, str]]:
    """300 images with four views of 768 features each."""
    features = np.random.default_rng(0).normal(size=(IMAGES, 4, 768)).astype(np.float32)
    seconds = {}
    for hidden, count in WIDTHS.items():
        views = FeatureSet(features)
        detector = DifferNet(768, DifferNetParams(hidden=hidden), Training(), torch.device("cpu"))
        seconds[hidden] = min(report.seconds for report in detector.fit(views, epochs=count, seed=0))
    return [
        (f"epoch of {4 * IMAGES:,} views, hidden 128 (default)", f"{seconds[128]:.2f} s"),
        ("hidden 2048 (paper) / hidden 128", f"{seconds[2048] / seconds[128]:.0f} x"),
    ]


BENCHMARKS = {"training": epochs}
