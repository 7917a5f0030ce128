"""Coverage of the contamination's interval, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from irp_core.refinement.careful.asking import believe
from irp_core.refinement.careful.contamination_interval import share_interval
from tests.irp_core.refinement.careful.plant import plant
from tests.irp_core.refinement.careful.test_asking import asked, held


@pytest.mark.parametrize("count", [10, 30])
def test_nine_of_ten_intervals_hold_the_true_share_at_least_eight_times(count: int) -> None:
    inside = []
    for seed in range(24):
        share = (0.0, 0.1, 0.3, 0.5)[seed % 4]
        made = plant(120, share, seed=seed)
        lay, belief, _ = asked(made, count)
        interval = share_interval(lay, belief)
        assert interval is not None
        inside.append(interval.low <= made.bad.mean() <= interval.high)
    assert np.mean(inside) >= 0.8


def test_more_answers_narrow_it_and_all_close_it() -> None:
    made = plant(60, 0.2, seed=0)
    widths = []
    for count in (10, 30, 60):
        lay, belief, _ = asked(made, count)
        interval = share_interval(lay, belief)
        assert interval is not None
        widths.append(interval.high - interval.low)
    assert widths[0] > widths[1] > widths[2] == 0.0


def test_no_interval_from_scores_alone() -> None:
    lay = held(plant(60, 0.2, seed=0))
    assert share_interval(lay, believe(lay, {})) is None


def test_where_nobody_saw_a_defect_it_begins_at_nothing() -> None:
    lay, belief, _ = asked(plant(80, seed=1), 12)
    interval = share_interval(lay, belief)
    assert interval is not None
    assert interval.low == 0.0 < interval.high


def test_the_seed_makes_it() -> None:
    lay, belief, _ = asked(plant(60, 0.2, seed=0), 12)
    assert share_interval(lay, belief, seed=3) == share_interval(lay, belief, seed=3)
    with pytest.raises(ValueError, match="level"):
        share_interval(lay, belief, level=1.0)
