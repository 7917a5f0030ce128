"""The flow: time per epoch, the default against the paper's width, and the precision of its products."""

from __future__ import annotations

import time
from typing import Literal

import numpy as np
import torch

from irp_core.config import DifferNetParams, Training
from irp_core.detectors import DifferNet
from irp_core.features.feature_set import FeatureSet
from irp_core.features.pooled import resolve_precision

__all__ = ["BENCHMARKS"]

IMAGES, WIDTHS = 300, {128: 4, 2048: 1}
"""Epochs by width: the default's, and the paper's."""
PAPER_IMAGES, PAPER_WIDTH = 48, 2048
PRECISIONS: tuple[Literal["float32"], Literal["bfloat16"]] = ("float32", "bfloat16")


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


def precision() -> list[tuple[str, str]]:
    """The paper's width and batches of 96 views: two an epoch, in turn, the best of three epochs each."""
    features = FeatureSet(np.random.default_rng(0).normal(size=(PAPER_IMAGES, 4, 768)).astype(np.float32))
    native = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    detectors = {
        name: DifferNet(768, DifferNetParams(hidden=PAPER_WIDTH), Training(precision=name), torch.device("cpu"))
        for name in PRECISIONS
    }
    seconds: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for turn in range(3):  # a machine that slows down slows both
        for name, detector in detectors.items():
            started = time.process_time()  # work, not waiting: other processes slow down one turn more than the next
            detector.fit(features, epochs=1, seed=turn)
            seconds[name].append(time.process_time() - started)
    exact, low = (min(seconds[name]) for name in PRECISIONS)
    return [
        (
            "hidden 2048: a batch of 96 in float32, optimiser included, processor time",
            f"{exact * 96 / (4 * PAPER_IMAGES):.2f} s",
        ),
        (f"float32 / bfloat16 (native here: {'yes' if native else 'no'})", f"{exact / low:.2f} x"),
    ]


BENCHMARKS = {"training": epochs, "training_precision": precision}
