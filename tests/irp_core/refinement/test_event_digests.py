"""A row of the decisions that was changed since it was written is named and used by nobody."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from irp_core.errors import InputError
from irp_core.refinement.reviews import REVIEW_SCHEMA, append_events, changed_events, event, read_events

pytestmark = pytest.mark.trust

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def said(decision: str, md5: str, at: str, reviewer: str = "Ada", note: str = "") -> dict[str, str | None]:
    image = f"{md5[0]}.png"
    return event(decision, image_id=image, md5=md5, reviewer=reviewer, reviewed_at=at, note=note, run_id="r")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "decisions.csv"
    append_events(
        file, [said("kept_by_review", A, "2026-01-01", "Jürgen", 'größer, "fast"'), said("withdrawn", C, "2026-01-01")]
    )
    append_events(file, [said("removed_by_review", B, "2026-01-02T10:00+01:00", note="=1+1\nzwei")])
    return file


@pytest.fixture
def row_of_one(log: Path) -> str:
    return log.read_text().splitlines()[1]


def test_no_flipped_bit_of_the_log_is_used(log: Path) -> None:
    whole, events = log.read_bytes(), read_events(log)
    used = []
    for at in range(len(whole)):
        for bit in (at % 8, (at + 3) % 8):
            content = bytearray(whole)
            content[at] ^= 1 << bit
            log.write_bytes(bytes(content))
            try:
                found = read_events(log)
            except InputError as error:
                assert "decisions.csv" in str(error)
                continue
            if not found.equals(events):
                used.append((at, bit, bytes(content)[max(0, at - 20) : at + 20]))
    assert used == [], used


@pytest.mark.parametrize(("before", "after"), [("removed_by_review", "kept_by_review"), (B, A), (",Ada,", ",Eve,")])
def test_an_edited_row_is_named_with_its_remedy(log: Path, before: str, after: str) -> None:
    log.write_text(log.read_text()[::-1].replace(before[::-1], after[::-1], 1)[::-1])
    who = "Eve" if "Eve" in after else "Ada"
    (named,) = changed_events(log)
    assert named == f"event 3 (b.png, by {who})"
    for use in (read_events, lambda file: append_events(file, [said("withdrawn", A, "2026-01-03")])):
        with pytest.raises(
            InputError, match=re.escape(named) + " was changed .* empty its column digest if the change"
        ):
            use(log)
    assert "2026-01-03" not in log.read_text()


def test_what_a_person_writes_by_hand_has_no_digest_until_something_is_appended(log: Path, row_of_one: str) -> None:
    edited = re.sub(r"fast(.*)row:\w+", r"slow\1", row_of_one)
    log.write_text(log.read_text().replace(row_of_one, edited) + f"c.png,{C},kept_by_review\n")
    assert len(read_events(log)) == 4
    append_events(log, [said("withdrawn", A, "2026-01-03")])
    found = pd.read_csv(log, dtype=str)
    assert found["digest"].str.fullmatch("row:[0-9a-f]{16}").all()
    assert 'größer, "slow"' in read_events(log)["note"].tolist()
    log.write_text(log.read_text().replace(C, A))
    assert len(changed_events(log)) == 1 + 1 and "event 4 (c.png, by None)" in changed_events(log)


def test_a_log_of_before_is_read_as_it_is_and_gets_its_digests(log: Path) -> None:
    events = read_events(log)
    events.to_csv(log, index=False)
    assert log.read_text().splitlines()[0].split(",") == REVIEW_SCHEMA.names
    assert read_events(log).equals(events)
    append_events(log, [said("withdrawn", A, "2026-01-03")])
    assert read_events(log)[:-1].equals(events)
    log.write_text(log.read_text().replace("größer", "kleiner"))
    assert len(changed_events(log)) == 1


def test_a_spreadsheet_that_saves_the_log_changes_no_row(log: Path) -> None:
    events = read_events(log)
    text = log.read_text()
    saved = pd.read_csv(log, dtype=str, keep_default_na=False).to_csv(index=False, sep=";", lineterminator="\r\n")
    for content in (saved.encode("utf-16"), saved.encode("cp1252"), text.replace("\n", "\r\n").encode("utf-8-sig")):
        log.write_bytes(content)
        assert changed_events(log) == []
        assert read_events(log)["md5"].equals(events["md5"])


def test_two_logs_that_git_merged_are_whole(log: Path, tmp_path: Path) -> None:
    base, other = tmp_path / "base.csv", tmp_path / "other.csv"
    for file in (base, other):
        file.write_text(log.read_text())
    append_events(log, [said("kept_by_review", C, "2026-01-04")])
    append_events(other, [said("removed_by_review", C, "2026-01-05", "Grace")])
    subprocess.run(["git", "merge-file", "--union", str(log), str(base), str(other)], check=True)
    assert changed_events(log) == []
    assert read_events(log)["reviewer"].tolist() == ["Jürgen", "Ada", "Ada", "Ada", "Grace"]


def test_a_line_break_that_was_lost_in_the_names_hides_no_row(log: Path) -> None:
    log.write_text(log.read_text().replace("\n", "*", 1))
    with pytest.raises(InputError, match="its first line is not only the names"):
        read_events(log)
