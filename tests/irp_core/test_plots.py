"""Figures: a few extreme scores do not hide the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from irp_core.plots import score_histograms


@pytest.mark.parametrize(
    "highest, threshold, scale", [(5.0, 2.0, "linear"), (800.0, 2.0, "symlog"), (800.0, 800.0, "symlog")]
)
def test_the_threshold_is_seen_whatever_the_highest_score_is(highest: float, threshold: float, scale: str) -> None:
    scores = pd.DataFrame({"iteration": 0, "score": [*np.linspace(0.0, 3.0, 99), highest]})
    (axes,) = score_histograms(scores, {0: threshold}).axes
    assert axes.get_xscale() == scale
    left, right = axes.get_xlim()
    at = axes.transAxes.inverted().transform(axes.transData.transform((threshold, 0.0)))[0]
    assert left < threshold < right and at > 0.15
    assert sum(bar.get_height() for bar in axes.patches) == 100
    assert sum(bar.get_height() > 0 for bar in axes.patches) > 10
