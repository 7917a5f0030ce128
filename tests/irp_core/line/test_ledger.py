"""The ledger: a file counts once it is the same at two polls; what is decided stays decided."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from irp_core.data.look import THUMBNAIL, Facts
from irp_core.line.ledger import DOUBLE, TAKEN, UNREADABLE, VANISHED, WAITING, Ledger, SeenFile
from irp_core.line.ledger_file import DamagedLedger, salvage

pytestmark = pytest.mark.trust


def facts(md5: str) -> Facts:
    thumbnail = np.full((THUMBNAIL, THUMBNAIL), int(md5[0], 16), dtype=np.uint8)
    return Facts(md5, 80, 60, False, 8, 0.0, 255.0, 255.0, 1, thumbnail)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_a_file_that_grows_waits_until_it_is_the_same_twice(ledger: Ledger) -> None:
    sizes = [3, 7, 9, 9, 9]
    ready = [ledger.observe([SeenFile("a.png", size, str(size))], 10.0 * n, settle=5) for n, size in enumerate(sizes)]
    assert ready == [[], [], [], [SeenFile("a.png", 9, "9")], [SeenFile("a.png", 9, "9")]]
    assert len(ledger.files()) == 1


def test_two_polls_at_once_are_no_proof_that_a_file_is_complete(ledger: Ledger) -> None:
    file = SeenFile("a.png", 9, "1")
    assert [ledger.observe([file], at, settle=5) for at in (0.0, 0.1, 4.9)] == [[], [], []]


def test_what_was_decided_is_not_offered_again_until_the_file_changes(ledger: Ledger) -> None:
    first, changed = SeenFile("a.png", 9, "1"), SeenFile("a.png", 9, "2")
    ledger.observe([first], 0.0, settle=1)
    ledger.decide(first, UNREADABLE, 2.0, note="empty file")
    assert ledger.observe([first], 10.0, settle=1) == []
    ledger.observe([changed], 20.0, settle=1)
    assert ledger.observe([changed], 30.0, settle=1) == [changed]
    assert ledger.files()["state"].tolist() == [UNREADABLE, WAITING]


def test_a_file_that_goes_before_it_was_taken_is_named_and_may_come_back(ledger: Ledger) -> None:
    file = SeenFile("a.png", 9, "1")
    ledger.observe([file], 0.0, settle=1)
    ledger.observe([], 10.0, settle=1)
    assert ledger.counts() == {VANISHED: 1}
    ledger.observe([file], 20.0, settle=1)
    assert ledger.observe([file], 30.0, settle=1) == [file]


def test_the_same_bytes_are_taken_once(ledger: Ledger) -> None:
    one, two = SeenFile("a.png", 9, "1"), SeenFile("b.png", 9, "1")
    assert ledger.take(one, "day/a.png", facts("a" * 32), "key", 1.0)
    assert not ledger.take(two, "day/b.png", facts("a" * 32), "key", 2.0)
    assert ledger.counts() == {TAKEN: 1, DOUBLE: 1}
    assert ledger.images()["image_id"].tolist() == ["day/a.png"]
    assert "day/a.png" in ledger.files(DOUBLE)["note"].iloc[0]


def test_a_transaction_that_a_kill_breaks_off_leaves_nothing_of_itself(ledger: Ledger) -> None:
    with pytest.raises(KeyboardInterrupt), ledger.together():
        ledger.take(SeenFile("a.png", 9, "1"), "day/a.png", facts("a" * 32), "key", 1.0)
        raise KeyboardInterrupt
    assert ledger.images().empty and ledger.counts() == {}


def test_an_image_keeps_its_first_round_and_its_side(ledger: Ledger) -> None:
    for name in "ab":
        ledger.take(SeenFile(name, 1, "1"), name, facts(name * 32), "key", 1.0)
    ledger.assign({"a": True}, 1)
    ledger.assign({"a": False, "b": False}, 2)
    images = ledger.images().set_index("image_id")
    assert images["round"].to_dict() == {"a": 1, "b": 2}
    assert images["held_out"].to_dict() == {"a": True, "b": False}
    assert ledger.set_aside(2, "nothing but defects") == 1
    assert ledger.images().set_index("image_id")["set_aside"].to_dict() == {"a": None, "b": "nothing but defects"}


def test_what_is_known_of_an_image_is_read_as_it_was_written(ledger: Ledger) -> None:
    said = facts("b" * 32)
    ledger.take(SeenFile("b", 1, "1"), "b", said, "key", 1.0)
    found = ledger.facts(["b"], "key")["b"]
    assert found.figures() == said.figures()
    assert (found.thumbnail == said.thumbnail).all()
    assert ledger.facts(["b"], "other settings") == {}


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_text("no database, and long enough not to pass for an empty one" * 9)
    with pytest.raises(DamagedLedger, match=r"ledger\.sqlite: the ledger was damaged \(file is not a database\)"):
        Ledger(tmp_path / "ledger.sqlite")


def test_a_clock_that_was_put_back_does_not_make_a_file_wait_for_years(ledger: Ledger) -> None:
    file = SeenFile("a.png", 9, "1")
    assert [ledger.observe([file], at, settle=5) for at in (1e9, 10.0, 15.0)] == [[], [], [file]]


CHANGES = (
    "UPDATE images SET round = 3 WHERE image_id = 'a'",
    "UPDATE images SET held_out = 0 WHERE image_id = 'a'",
    "UPDATE images SET md5 = '%s' WHERE image_id = 'a'" % ("d" * 32),
    "UPDATE images SET set_aside = NULL WHERE image_id = 'a'",
    "UPDATE images SET taken_at = 3.5 WHERE image_id = 'a'",
    "UPDATE images SET image_id = CAST(x'80ff' AS TEXT) WHERE image_id = 'a'",
    "UPDATE files SET state = 'waiting'",
    "UPDATE files SET stamp = '2'",
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_value_that_was_changed_is_named_and_never_given_a_digest(ledger: Ledger, change: str) -> None:
    ledger.take(SeenFile("a", 1, "1"), "a", facts("a" * 32), "key", 1.0)
    ledger.take(SeenFile("b", 1, "1"), "b", facts("b" * 32), "key", 1.0)
    ledger.assign({"a": True}, 1)
    ledger.set_aside(1, "refused")
    assert ledger.damage(thorough=True) is None
    with closing(sqlite3.connect(ledger._file)) as database, database:
        database.execute(change)
    assert "was damaged" in str(ledger.damage())
    ledger.assign({"a": True, "b": False}, 2)  # others are changed as ever
    ledger.set_aside(3, "no")
    assert ledger.damage() is not None
    salvage(ledger._file, ledger._file.with_name("other.sqlite"))
    other = Ledger(ledger._file.with_name("other.sqlite"))
    rest = other.images().set_index("image_id")["round"].to_dict()
    assert rest == ({"b": 2, "a": 1} if "files" in change else {"b": 2})
    assert len(other.files()) == (0 if "files" in change else 2)


def test_of_a_state_its_own_rows_alone_are_digested(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll asks for those that wait: among a million that were taken these are few."""
    for name in "abc":
        ledger.decide(SeenFile(name, 1, "1"), TAKEN, 1.0)
    ledger.observe([SeenFile("d", 1, "1")], 2.0, settle=5)
    held = []
    monkeypatch.setattr("irp_core.line.ledger.is_intact", lambda row: held.append(row[0]) or True)
    assert ledger.files(WAITING)["path"].tolist() == held == ["d"]


def test_a_damaged_picture_is_looked_at_again(ledger: Ledger) -> None:
    ledger.take(SeenFile("a", 1, "1"), "a", facts("a" * 32), "key", 1.0)
    with closing(sqlite3.connect(ledger._file)) as database, database:
        database.execute("UPDATE images SET thumbnail = zeroblob(4096)")
    assert ledger.damage() is None and ledger.facts(["a"], "key") == {}
    ledger.look_again("a", facts("a" * 32), "key")
    assert list(ledger.facts(["a"], "key")) == ["a"]


def test_a_ledger_without_digests_gets_them(ledger: Ledger) -> None:
    ledger.take(SeenFile("a", 1, "1"), "a", facts("a" * 32), "key", 1.0)
    with closing(sqlite3.connect(ledger._file)) as database, database:  # as irp up to 0.13 wrote it
        for table, column in (("files", "digest"), ("images", "digest"), ("images", "seen_digest")):
            database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    old = Ledger(ledger._file)
    assert old.damage(thorough=True) is None
    assert list(old.facts(["a"], "key")) == ["a"]
