"""Training only what is needed: the final detector after the last round against once per round, where others score."""

from __future__ import annotations

import time
from unittest.mock import patch

import numpy as np
import pandas as pd

from irp_core.features.feature_set import FeatureSet
from irp_core.params_file import load_params
from irp_core.refinement import in_memory

__all__ = ["BENCHMARKS"]

IMAGES, ODD, CELLS, WARM = 400, 6, 23, 40
DETECTORS = ("gaussian", "ensemble", "differnet")


def made_up() -> FeatureSet:
    """Features of the default's shapes; the last `ODD` images are far from all others, each in its own direction."""
    rng = np.random.default_rng(0)
    shapes = {"pooled": (4, 768), "patches": (64, 64), "kurtosis": (128,), "cells": (CELLS, CELLS, 64)}
    made = {name: rng.standard_normal((IMAGES, *shape), dtype=np.float32) for name, shape in shapes.items()}
    odd = slice(IMAGES - ODD, IMAGES)
    made["pooled"][odd] += 6.0 * rng.standard_normal((ODD, 1, 768), dtype=np.float32)
    made["patches"][odd, :7] += 6.0 * rng.standard_normal((ODD, 7, 64), dtype=np.float32)
    made["kurtosis"][odd] += 6.0
    return FeatureSet(made["pooled"], made["patches"], made["kurtosis"], made["cells"].astype(np.float16))


def waiting() -> list[tuple[str, str]]:
    """400 images, the default's removal in memory, processor time of the whole refinement."""
    features = made_up()
    digests = [f"{number:032x}" for number in range(IMAGES)]
    images = pd.DataFrame({"image_id": digests, "md5": digests})
    rows = []
    for name in DETECTORS:
        params = load_params(None, [f"detector.name={name}"])
        seconds, kept = {}, {}
        in_memory.refine_in_memory(images[:WARM], features[slice(0, WARM)], params)  # what the first call costs
        for waits in (False, True):
            with patch.object(in_memory, "final_waits", return_value=waits):
                started = time.process_time()
                refined = in_memory.refine_in_memory(images, features, params)
                seconds[waits] = time.process_time() - started
            kept[waits] = refined.kept.tolist()
        same = "the same images kept" if kept[True] == kept[False] else "OTHER images kept"
        rounds = len(refined.rounds)
        what = f"{name}, {rounds} rounds: trained in each / after the last"
        rows.append(
            (what, f"{seconds[False]:.1f} s / {seconds[True]:.1f} s = {seconds[False] / seconds[True]:.2f} x; {same}")
        )
    return rows


BENCHMARKS = {"waiting": waiting}
