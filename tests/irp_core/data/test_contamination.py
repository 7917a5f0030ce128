"""Noise protocols: counts, disjoint pools, seeds, duplicates."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irp_core.config import Contamination, Dataset
from irp_core.data.contamination import contaminate
from irp_core.data.manifest import testing_rows as held_out
from irp_core.data.manifest import training_rows
from irp_core.errors import InputError


def table(goods: int, bads: int, copies: int = 0, split: str = "unassigned") -> pd.DataFrame:
    rows = [(f"good/{i:03d}", f"{i:032x}", split, "good") for i in range(goods)]
    rows += [
        (f"bad/{i:03d}", f"{10_000 + i:032x}", split if split == "unassigned" else "test", "defective")
        for i in range(bads)
    ]
    rows += [(f"good/copy{i:03d}", f"{i:032x}", split, "good") for i in range(copies)]
    frame = pd.DataFrame(rows, columns=["image_id", "md5", "split", "label"])
    return frame.assign(defect_type=None, mask_path=None, injected=False)


@settings(max_examples=60, deadline=None)
@given(
    goods=st.integers(10, 60),
    bads=st.integers(4, 40),
    copies=st.integers(0, 8),
    p=st.sampled_from([0.0, 0.1, 0.3, 0.5]),
    protocol=st.sampled_from(["fraction_of_set", "fraction_of_defects"]),
    seed=st.integers(0, 50),
)
def test_pools_are_disjoint_and_counts_are_right(
    goods: int, bads: int, copies: int, p: float, protocol: str, seed: int
) -> None:
    noise = Contamination(fraction=p, protocol=protocol)  # type: ignore[arg-type]
    result = contaminate(table(goods, bads, copies), Dataset(), noise, seed=seed)
    train, test = training_rows(result), held_out(result)
    assert set(train["md5"]).isdisjoint(test["md5"])
    injected = int(result["injected"].sum())
    expected = round(p * len(train)) if protocol == "fraction_of_set" else round(p * round(bads / 2))
    assert injected == expected
    assert (result.loc[result["injected"], "label"] == "defective").all()
    assert (result.loc[result["split"] == "train", "label"] == "defective").sum() == injected


def test_fraction_added_keeps_all_good_images() -> None:
    result = contaminate(table(50, 40), Dataset(), Contamination(protocol="fraction_added", fraction=0.2), seed=0)
    assert len(training_rows(result)) == 40 + 8


def test_a_larger_fraction_injects_a_superset_into_a_set_of_the_same_size() -> None:
    sets = []
    for p in (0.1, 0.3, 0.5):
        noise = Contamination(fraction=p, max_fraction=0.5)
        result = contaminate(table(60, 40), Dataset(), noise, seed=3)
        assert len(training_rows(result)) == 40
        sets.append(set(result.loc[result["injected"], "image_id"]))
    assert sets[0] < sets[1] < sets[2]


def test_the_test_set_is_the_same_at_every_noise_level() -> None:
    ids = [
        held_out(contaminate(table(60, 40), Dataset(), Contamination(fraction=p), seed=3))["image_id"].tolist()
        for p in (0.0, 0.4)
    ]
    assert ids[0] == ids[1]


def test_overlap_tests_the_injected_images_too() -> None:
    result = contaminate(table(60, 40), Dataset(), Contamination(fraction=0.2, overlap=True), seed=0)
    injected = result[result["injected"]]
    assert (injected["split"] == "both").all()
    assert len(held_out(result)) == 12 + 40


def test_a_given_split_gives_up_training_copies_of_test_images() -> None:
    frame = table(20, 4, split="train")
    frame.loc[len(frame)] = ["test/x", frame["md5"][0], "test", "good", None, None, False]
    result = contaminate(frame, Dataset(), Contamination(), seed=0).set_index("image_id")
    assert result.loc["test/x", "split"] == "test"
    assert result.loc["good/000", "split"] == "unused"


def test_a_small_pool_says_how_many_are_missing() -> None:
    with pytest.raises(InputError, match="needs 20 defective training images, found 5 in the pool: 15 are missing"):
        contaminate(table(60, 10), Dataset(), Contamination(fraction=0.5, set_size=40), seed=0)


def test_unlabelled_images_cannot_be_contaminated() -> None:
    frame = table(5, 0).assign(label=None, split="train")
    assert len(training_rows(contaminate(frame, Dataset(), Contamination(), seed=0))) == 5
    with pytest.raises(InputError, match=r"contamination\.fraction needs labelled images"):
        contaminate(frame, Dataset(), Contamination(fraction=0.1), seed=0)
