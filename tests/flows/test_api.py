"""The Python API and the tracked flow are one refinement: same images, same scores, same threshold, same detector."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from irp_core import load, refine
from irp_core.api import Result
from tests.conftest import TINY
from tests.sections import sections_of


def test_python_and_the_flow_come_to_the_same_end(in_workspace: Path, plant: Path) -> None:
    tracked = load(in_workspace)
    assert isinstance(tracked, Result)
    result = refine(plant, **sections_of(TINY))
    pd.testing.assert_frame_equal(result.images, tracked.images)
    pd.testing.assert_frame_equal(result.scores, tracked.scores)
    columns = ["iteration", "n_train", "n_removed", "threshold", "removal_precision"]
    pd.testing.assert_frame_equal(result.iterations[columns], tracked.iterations[columns])
    assert result.threshold == tracked.threshold
    image = plant / result.kept["image_id"].iloc[0]
    pd.testing.assert_frame_equal(result.score(image), tracked.score(image))
