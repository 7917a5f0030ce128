"""What a round trains on: a test split that stays, no golden image, and as much of the history as the line keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from irp_core.config import Params
from irp_core.config.lines import Inbox, Line
from irp_core.data.look import THUMBNAIL, Facts
from irp_core.line.definition import line_params
from irp_core.line.selection import Selection, due, in_window, select

LINE = Line(name="line3", inbox="in", min_new=3)


def params() -> Params:
    return line_params(LINE, Path("nowhere"))


def facts(seed: int) -> Facts:
    picture = np.random.default_rng(seed).integers(0, 256, (THUMBNAIL, THUMBNAIL), dtype=np.uint8)
    return Facts(f"{seed:032x}", 80, 60, False, 8, 0.0, 255.0, 255.0, 1, picture)


class Book:
    """The ledger's table of images, as rounds change it."""

    def __init__(self) -> None:
        self.table = pd.DataFrame(
            {"image_id": [], "md5": [], "taken_at": [], "round": [], "held_out": [], "set_aside": []}
        ).astype({"image_id": object, "md5": object, "round": "Int64", "held_out": "boolean", "set_aside": object})
        self.facts: dict[str, Facts] = {}

    def take(self, name: str, known: Facts) -> None:
        self.facts[name] = known
        row = {"image_id": name, "md5": known.md5, "taken_at": float(len(self.table)), "round": pd.NA,
               "held_out": pd.NA, "set_aside": None}  # fmt: skip
        added = pd.DataFrame([row]).astype(self.table.dtypes.to_dict())
        self.table = added if self.table.empty else pd.concat([self.table, added], ignore_index=True)

    def begin(self, golden: dict[str, np.ndarray] | None = None, history: int | None = None) -> Selection:
        chosen = in_window(self.table, history)
        found = select(chosen, self.table, self.facts, params(), golden or {})
        number = int(self.table["round"].max()) + 1 if self.table["round"].notna().any() else 1
        new = self.table["round"].isna()
        self.table.loc[new, "held_out"] = self.table.loc[new, "image_id"].map(found.new).astype("boolean")
        self.table.loc[new, "round"] = number
        return found


def sides(selection: Selection) -> dict[str, str]:
    return dict(zip(selection.manifest["image_id"], selection.manifest["split"], strict=True))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["new", "near-copy", "round"]), min_size=5, max_size=40), st.integers(0, 5))
def test_no_image_changes_its_side_while_images_are_added_one_by_one(steps: list[str], seed: int) -> None:
    book, known = Book(), {}
    for number in range(6):
        book.take(f"start-{number}", facts(seed * 1000 + number))
    for number, step in enumerate([*steps, "round"]):
        if step == "round":
            found = sides(book.begin())
            assert all(found[name] == side for name, side in known.items())
            known |= found
            continue
        made = facts(seed * 1000 + 100 + number)
        if step == "near-copy":
            like = list(book.facts.values())[number % len(book.facts)].thumbnail
            made = replace(made, thumbnail=np.clip(like.astype(int) + 2, 0, 255).astype(np.uint8))
        book.take(f"image-{number}", made)


def test_golden_images_and_their_near_copies_are_not_trained_on() -> None:
    book = Book()
    for number in range(12):
        book.take(f"{number}.png", facts(number))
    similar = np.clip(facts(5).thumbnail.astype(int) + 1, 0, 255).astype(np.uint8)
    golden = {facts(3).md5: facts(3).thumbnail, "f" * 32: similar}
    found = sides(book.begin(golden))
    assert {name for name, side in found.items() if side == "unused"} == {"3.png", "5.png"}


def test_the_window_keeps_the_latest_and_every_new_one() -> None:
    book = Book()
    for number in range(8):
        book.take(f"{number}.png", facts(number))
    book.begin()
    for number in range(8, 10):
        book.take(f"{number}.png", facts(number))
    assert in_window(book.table, 3)["image_id"].tolist() == ["5.png", "6.png", "7.png", "8.png", "9.png"]
    book.table.loc[7, "set_aside"] = "refused"
    assert in_window(book.table, 3)["image_id"].tolist() == ["4.png", "5.png", "6.png", "8.png", "9.png"]


def test_a_round_is_due_by_number_by_age_and_by_what_reviewers_said() -> None:
    book = Book()
    book.take("a", facts(1))
    old = LINE.model_copy(update={"taking": Inbox(max_age=100)})
    assert due(book.table, LINE, now=1e9) is None
    assert due(book.table, old, now=99.0) is None
    assert due(book.table, old, now=100.0) == "1 new image, the oldest of which has waited longer than 100 s"
    assert due(book.table, LINE, now=0.0, decisions=2) == "2 decisions of reviewers since the last round"
    book.take("b", facts(2))
    book.take("c", facts(3))
    assert due(book.table, LINE, now=0.0) == "3 new images (a round needs 3)"


def test_a_mask_beside_its_image_and_a_lost_file_are_named() -> None:
    book = Book()
    for number in range(5):
        book.take(f"{number}.png", facts(number))
    book.take("4_mask.png", facts(40))
    found = select(book.table, book.table, book.facts, params(), {}, ["0.png"])
    assert found.ignored["path"].tolist() == ["4_mask.png"]
    assert found.quarantine["image_id"].tolist() == ["0.png"]
    assert len(found.manifest) == 4
