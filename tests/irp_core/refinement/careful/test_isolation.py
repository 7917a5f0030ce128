"""What is alone and far goes; what has company is asked about; a clean set stays whole."""

from __future__ import annotations

import numpy as np
import pytest

from irp_core.refinement.careful.isolation import isolate
from irp_core.refinement.careful.landscape import Landscape, landscape
from tests.irp_core.refinement.careful.plant import Plant, plant


def held(made: Plant) -> Landscape:
    return landscape(made.scores, made.features, made.contents)


@pytest.mark.parametrize("n", [64, 240])
def test_a_clean_set_loses_next_to_nothing(n: int) -> None:
    removed = [isolate(held(plant(n, seed=seed))).removed.mean() for seed in range(30)]
    assert np.mean(removed) <= 0.002
    assert max(removed) <= 0.02


@pytest.mark.parametrize("n", [120, 300])
def test_a_second_kind_of_good_image_stays_and_is_a_question(n: int) -> None:
    named = []
    for seed in range(10):
        made = plant(n, seed=seed, second_kind=0.3)
        found = isolate(held(made))
        assert found.removed.mean() <= 0.02
        named.append(found.undecided.mean())
    assert np.mean(named) >= 0.2  # of about 0.3


def test_what_is_far_and_alone_goes() -> None:
    removed, good = 0, 0
    for seed in range(10):
        made = plant(200, 0.05, seed=seed, seen=9.0)
        found = isolate(held(made))
        gone = found.removed[held(made).of_image]
        removed += int((gone & made.bad).sum())
        good += int((gone & ~made.bad).sum())
    assert removed >= 0.5 * 10 * 4
    assert good <= 0.1 * removed


def test_never_more_than_two_in_a_hundred_go_however_many_are_far() -> None:
    for seed in range(5):
        assert isolate(held(plant(200, 0.1, seed=seed, seen=9.0))).removed.sum() <= 4


def test_thirty_copies_of_one_defect_are_a_group() -> None:
    made = plant(200, 0.15, seed=0, seen=6.0, alike=True)
    lay = held(made)
    found = isolate(lay)
    bad = np.zeros(len(lay), dtype=bool)
    bad[lay.of_image] = made.bad
    assert not found.removed[bad].any()
    largest = found.groups[0]
    assert bad[list(largest.members)].sum() >= 27
    assert set(largest.representatives) <= set(largest.members)


def test_every_content_is_removed_or_in_one_place_of_the_undecided() -> None:
    for seed in range(5):
        found = isolate(held(plant(150, 0.2, seed=seed, seen=3.0)))
        listed = [member for group in found.groups for member in group.members] + list(found.singles)
        assert len(listed) == len(set(listed))
        assert sorted(listed) == np.flatnonzero(found.undecided).tolist()
        assert not (found.removed & found.undecided).any()


def test_no_more_go_than_are_expected_and_the_highest_first() -> None:
    made = plant(200, 0.1, seed=0, seen=9.0)
    lay = held(made)
    free, bounded = isolate(lay).removed, isolate(lay, most=0.01).removed
    assert free.sum() > 2
    assert bounded.sum() == 2
    assert lay.total[bounded].min() >= lay.total[free & ~bounded].max()
    with pytest.raises(ValueError, match="most"):
        isolate(lay, most=0.0)


def test_who_goes_does_not_depend_on_the_order_of_the_images() -> None:
    made = plant(120, 0.1, seed=3, seen=8.0)
    order = np.random.default_rng(0).permutation(120)
    contents = [made.contents[i] for i in order]
    again = isolate(landscape(made.scores[order], made.features[order], contents))
    assert np.array_equal(isolate(held(made)).removed, again.removed)
