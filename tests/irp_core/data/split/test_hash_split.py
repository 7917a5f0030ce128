"""The hashed test split stays as it is while images are added; the random one stays today's, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from irp_core.config import Contamination, Dataset
from irp_core.data.contamination import contaminate
from irp_core.data.manifest import manifest_digest
from irp_core.data.scan import scan
from irp_core.data.split.hash_split import sides
from irp_core.errors import InputError

HASH = Dataset(split="hash")


def md5_of(index: int) -> str:
    return hashlib.md5(str(index).encode()).hexdigest()


def manifest_of(indices: list[int], label: str | None = None, split: str = "train") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"{index:05d}.png" for index in indices],
            "md5": [md5_of(index) for index in indices],
            "split": split,
            "label": label,
            "defect_type": None,
            "mask_path": None,
            "injected": False,
        }
    )


def test_adding_an_image_to_500_moves_none_and_with_a_random_draw_half_of_them() -> None:
    moved = {}
    for split in ("hash", "random"):
        before, after = (
            contaminate(
                manifest_of(list(range(size)), "good", "unassigned"), Dataset(split=split), Contamination(), seed=0
            )
            for size in (500, 501)
        )
        held_out = set(before.loc[before["split"] == "test", "md5"])
        assert 80 <= len(held_out) <= 120
        moved[split] = len(held_out & set(after.loc[after["split"] == "train", "md5"]))
    assert moved["hash"] == 0
    assert moved["random"] > 30


def test_the_random_split_is_as_it_always_was() -> None:
    result = contaminate(manifest_of(list(range(60)), "good", "unassigned"), Dataset(), Contamination(), seed=7)
    assert manifest_digest(result) == "318fce999486a4ac707859430191b6dbb497e397a899be1c95707c9219d30fac"
    unlabelled = manifest_of(list(range(60)))
    pd.testing.assert_frame_equal(contaminate(unlabelled, Dataset(), Contamination(), seed=7), unlabelled)


# An image: the number of its content, and the earlier images that it is a near-copy of.
ARRIVALS = st.lists(st.tuples(st.integers(0, 40), st.sets(st.integers(0, 40), max_size=2)), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(arrivals=ARRIVALS, seed=st.integers(0, 1000), labelled=st.booleans())
def test_the_split_stands_while_images_are_added_one_by_one(
    arrivals: list[tuple[int, set[int]]], seed: int, labelled: bool
) -> None:
    """Whatever comes, copies and near-copies that join groups included: what was tested is tested, what trained trains,
    and a newcomer is on the side of the member of its group that was seen first."""
    contents = list(range(100, 130))  # the first night's
    group = {content: content for content in contents}
    known = sides(contaminate(manifest_of(contents), HASH, Contamination(), seed=seed))
    for content, like in arrivals:
        contents.append(content)
        group.setdefault(content, content)
        for other in like & group.keys():
            old, new = group[other], group[content]
            group = {key: new if value == old else value for key, value in group.items()}
        copies = pd.DataFrame({"group": [md5_of(g) for g in group.values()], "md5": [md5_of(c) for c in group]})
        rows = manifest_of(contents, "good" if labelled else None, "unassigned" if labelled else "train")
        rows["image_id"] = [f"{place:05d}.png" for place in range(len(rows))]
        after = contaminate(rows, HASH, Contamination(), seed=seed, near_copies=copies, known=known)
        now = sides(after)
        assert set(now) == {md5_of(c) for c in contents}
        assert {md5: now[md5] for md5 in known} == known
        for md5 in now.keys() - known.keys():
            mates = [md5_of(c) for c in group if group[c] == group[content] and md5_of(c) in known]
            if mates:
                first = next(mate for mate in known if mate in mates)
                assert now[md5] == now[first]
        known = {**known, **now}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True), st.integers(0, 1000), st.data())
def test_an_image_s_side_is_its_own(contents: list[int], seed: int, data: st.DataObject) -> None:
    """Without near-copies nothing needs to be known: any part of a set has the sides of the whole."""
    part = data.draw(st.lists(st.sampled_from(contents), min_size=1, unique=True))
    whole, less = (sides(contaminate(manifest_of(c), HASH, Contamination(), seed=seed)) for c in (contents, part))
    assert less == {md5: whole[md5] for md5 in less}


def test_golden_images_and_their_near_copies_stay_out_of_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inbox, golden = tmp_path / "inbox", tmp_path / "golden" / "good"
    inbox.mkdir()
    golden.mkdir(parents=True)
    pictures = rng.integers(0, 255, (12, 64, 64), dtype=np.uint8)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(inbox / f"{index:02d}.png")
    Image.fromarray(pictures[0]).save(golden / "same.png")
    Image.fromarray(pictures[1]).save(golden / "again.jpg", quality=90)
    Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(golden / "other.png")
    (golden / "broken.png").write_bytes(b"no picture")
    for split in ("hash", "random"):
        dataset = Dataset(split=split, golden=str(tmp_path / "golden"))
        found = scan(inbox, golden=tmp_path / "golden")
        result = contaminate(found.manifest, dataset, Contamination(), seed=0, golden=found.golden)
        assert result.loc[result["split"] == "unused", "image_id"].tolist() == ["00.png", "01.png"]
    exact = scan(inbox, golden=tmp_path / "golden", copies_from=None)
    assert len(exact.golden) == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"dataset\.golden .*empty: expected at least one readable image"):
        scan(inbox, golden=empty)
