"""Out-of-fold scores: the flows of all folds side by side against one after another, at the default settings."""

from __future__ import annotations

import time

import numpy as np
import torch

from irp_core.config import DifferNetParams, Training
from irp_core.detectors import DifferNet
from irp_core.detectors.folds import assign_folds, fold_by_fold
from irp_core.features.feature_set import FeatureSet

__all__ = ["BENCHMARKS"]

IMAGES, VIEWS, DIMENSIONS, FOLDS, EPOCHS = 392, 4, 768, 5, 3


def sequential_and_batched() -> list[tuple[str, str]]:
    """Five folds of 392 images with four views of 768 features; three epochs each, the better of two rounds."""
    pooled = np.random.default_rng(0).normal(size=(IMAGES, VIEWS, DIMENSIONS)).astype(np.float32)
    features = FeatureSet(pooled)
    folds = assign_folds([str(image) for image in range(IMAGES)], np.ones(IMAGES, dtype=bool), FOLDS, seed=0)

    def build() -> DifferNet:
        return DifferNet(DIMENSIONS, DifferNetParams(), Training(), torch.device("cpu"))

    seconds: dict[str, list[float]] = {"sequential": [], "batched": []}
    scores = {}
    for _ in range(2):  # in turn, so that a machine that slows down slows both
        started = time.perf_counter()
        scores["sequential"] = fold_by_fold(build, features, folds, epochs=EPOCHS, seed=0)
        seconds["sequential"].append(time.perf_counter() - started)
        started = time.perf_counter()
        scores["batched"] = build().score_out_of_fold(features, folds, epochs=EPOCHS, seed=0)
        seconds["batched"].append(time.perf_counter() - started)
    sequential, batched = min(seconds["sequential"]), min(seconds["batched"])
    difference = np.abs(scores["batched"] / scores["sequential"] - 1.0).max()
    return [
        (f"{FOLDS} folds x {EPOCHS} epochs, one after another", f"{sequential:.1f} s"),
        (f"{FOLDS} folds x {EPOCHS} epochs, side by side", f"{batched:.1f} s"),
        ("one after another / side by side", f"{sequential / batched:.2f} x"),
        ("largest relative difference of a score", f"{difference:.0e}"),
    ]


BENCHMARKS = {"folds": sequential_and_batched}
