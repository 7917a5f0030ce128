"""What of a folder is said to be left out or odd."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from irp_core.results.left_out import left_out
from irp_core.run.files import NEAR_COPIES
from irp_core.run.prepared import PreparedSet


def test_groups_of_copies_are_counted_and_the_largest_comes_first(tmp_path: Path) -> None:
    ids = ["a1", "a2", *(f"b{i:02}" for i in range(10))]
    groups = pd.DataFrame({"group": [name[0] for name in ids], "image_id": ids, "md5": ids})
    prepared = PreparedSet(tmp_path)
    prepared.write_left_out(pd.DataFrame(columns=["image_id", "reason"]), pd.DataFrame(columns=["md5", "image_id"]))
    prepared.write_notices(
        pd.DataFrame(columns=["path", "files", "reason"]), groups, pd.DataFrame(columns=["image_id", "note"])
    )
    assert left_out(prepared)[NEAR_COPIES] == [
        "Near-copies: 12 images in 2 groups; a group shares a fold and a vote",
        "Near-copies: b00, b01, b02, b03, b04, b05, b06, b07 and 2 more",
        "Near-copies: a1, a2",
    ]
    assert sum(map(len, left_out(prepared).values())) == 3
