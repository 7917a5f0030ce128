"""The careful method in memory: what stands alone is removed, a second kind stays and is asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from irp_core.config import Params
from irp_core.features.feature_set import FeatureSet
from irp_core.params_file import load_params
from irp_core.refinement.careful.landscape import Landscape
from irp_core.refinement.in_memory import refine_in_memory
from irp_core.refinement.rounds import assess


def images(good: int, second: int, alone: int, *, seed: int = 0) -> tuple[pd.DataFrame, FeatureSet]:
    """Good images, a second kind that resembles itself, and single ones that resemble nothing; in this order."""
    rng = np.random.default_rng(seed)
    count = good + second + alone
    pooled = rng.normal(size=(count, 2, 12))
    patches = rng.normal(size=(count, 16, 6))
    kurtosis = rng.normal(1.4, 0.1, size=(count, 8))
    pooled[good : good + second] += 6.0
    kurtosis[good : good + second] += 0.5
    for number in range(good + second, count):
        pooled[number] += rng.normal(size=12) * 9.0
        patches[number, 3] += 12.0
        kurtosis[number] += 2.0
    table = pd.DataFrame(
        {"image_id": [f"{k:03d}.png" for k in range(count)], "md5": [f"{k:032x}" for k in range(count)]}
    )
    return table, FeatureSet(*(values.astype(np.float32) for values in (pooled, patches, kurtosis)))


def careful(*overrides: str) -> Params:
    return load_params(
        None, ["refinement.method=careful", "detector.name=gaussian", "refinement.repeats=1", *overrides]
    )


def test_a_clean_set_loses_nothing() -> None:
    table, features = images(60, 0, 0)
    refined = refine_in_memory(table, features, careful())
    assert refined.kept.all()
    assert refined.rounds[-1][1].stop_reason == "converged"


def test_what_stands_alone_goes_and_a_second_kind_stays_as_a_question() -> None:
    table, features = images(60, 12, 3)
    refined = refine_in_memory(table, features, careful())
    gone = set(np.flatnonzero(~refined.kept))
    assert gone and gone <= set(range(72, 75))
    this, _ = refined.rounds[0]
    groups = assess(this, _policy(careful())).isolation.groups
    assert any(
        len(set(range(60, 72)) & set(_places(this.images, group.members, this.landscape))) >= 10 for group in groups
    )


def test_no_more_go_than_the_plant_expects() -> None:
    table, features = images(60, 12, 3)
    all_of_them = refine_in_memory(table, features, careful())
    bounded = refine_in_memory(table, features, careful("refinement.expected=0.02"))
    assert (~bounded.kept).sum() == 1 <= (~all_of_them.kept).sum()


def test_answers_from_the_labels_find_a_kind_of_defect() -> None:
    table, features = images(60, 20, 0)
    injected = frozenset(table["image_id"][60:])
    refined = refine_in_memory(
        table, features, careful("refinement.method=answered", "refinement.answers=12"), injected=injected
    )
    gone = np.flatnonzero(~refined.kept)
    assert len(gone) >= 18
    assert (gone >= 60).all()


def test_the_landscape_survives_its_table() -> None:
    table, features = images(30, 5, 1)
    this, _ = refine_in_memory(table, features, careful()).rounds[0]
    assert this.landscape is not None
    again = Landscape.of_table(this.landscape.table(table["md5"].tolist()), table["md5"].tolist())
    np.testing.assert_array_equal(again.heights, this.landscape.heights)
    np.testing.assert_array_equal(again.neighbours, this.landscape.neighbours)
    np.testing.assert_array_equal(again.of_image, this.landscape.of_image)


def test_near_copies_are_one_content_and_one_answer() -> None:
    table, features = images(30, 5, 0)
    this, _ = refine_in_memory(table, features, careful()).rounds[0]
    assert this.landscape is not None
    md5s = table["md5"].tolist()
    stored = this.landscape.table(md5s)
    stored.loc[1, "content"] = stored.loc[0, "content"]  # the second image is a near-copy of the first
    again = replace(this, landscape=Landscape.of_table(stored, md5s), answers={md5s[1]: True, md5s[2]: False})
    assert len(again.landscape) == 34
    assert again.answers_by_content() == {stored.loc[0, "content"]: True, md5s[2]: False}
    assert again.content_of()[md5s[0]] == again.content_of()[md5s[1]]


def _policy(params: Params):  # type: ignore[no-untyped-def]
    from irp_core.refinement.policy import policy_of

    return policy_of(params.refinement)


def _places(table: pd.DataFrame, members: tuple[int, ...], landscape: Landscape | None) -> list[int]:
    assert landscape is not None
    contents = {landscape.contents[member] for member in members}
    return [int(name[:3]) for name in table.loc[table["md5"].isin(contents), "image_id"]]
