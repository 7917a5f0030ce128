"""Reviewers' decisions: which counts, what they do to the removal table, what is refused."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from irp_core.errors import InputError
from irp_core.refinement.reviews import (
    REVIEW_SCHEMA,
    append_events,
    approval,
    current_decisions,
    event,
    no_events,
    read_events,
)
from irp_core.removals import REMOVAL_SCHEMA, empty_removals, excluded_rows, review_removals, with_truth

A, B, C = ("a" * 32, "b" * 32, "c" * 32)
LAST_ROUND = {"iteration": 3, "threshold": 1.0, "rule": "median_multiple(1.25)"}


def said(decision: str, md5: str | None, at: str, reviewer: str = "Ada", note: str = "") -> dict[str, str | None]:
    image = f"{md5[0]}.png" if md5 else None
    return event(decision, image_id=image, md5=md5, reviewer=reviewer, reviewed_at=at, note=note, run_id="r")


def events(*rows: dict[str, str | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=REVIEW_SCHEMA.names)


def removals(*rows: tuple[str, int, float]) -> pd.DataFrame:
    table = pd.DataFrame(
        [{"image_id": f"{md5[0]}.png", "md5": md5, "iteration": k, "score": s, "threshold": 1.0} for md5, k, s in rows]
    )
    table = table.assign(rule="median_multiple(1.25)", margin=table["score"] - 1.0, decision="removed")
    return table.reindex(columns=REMOVAL_SCHEMA.names)


def test_the_latest_decision_about_an_image_counts_whatever_its_place_in_the_file() -> None:
    now = current_decisions(
        events(
            said("removed_by_review", A, "2026-01-03"),
            said("kept_by_review", A, "2026-01-02"),
            said("kept_by_review", B, "2026-01-01"),
            said("withdrawn", B, "2026-01-02"),
            said("approved", None, "2026-01-04"),
        )
    )
    assert now[["md5", "decision"]].to_numpy().tolist() == [[A, "removed_by_review"]]


def test_taking_back_a_decision_leaves_what_an_earlier_runs_review_said() -> None:
    earlier = said("kept_by_review", A, "2026-01-01") | {"run_id": "first"}
    later = [said("removed_by_review", A, "2026-01-02"), said("withdrawn", A, "2026-01-03")]
    assert current_decisions(events(earlier, later[0]))["decision"].tolist() == ["removed_by_review"]
    assert current_decisions(events(earlier, *later))["decision"].tolist() == ["kept_by_review"]


def test_taking_back_a_decision_leaves_what_another_reviewer_said() -> None:
    ada, grace = said("kept_by_review", A, "2026-01-01"), said("removed_by_review", A, "2026-01-02", "Grace")
    now = current_decisions(events(ada, grace, said("withdrawn", A, "2026-01-03", "Grace")))
    assert now[["decision", "reviewer", "reviewed_at"]].to_numpy().tolist() == [["kept_by_review", "Ada", "2026-01-01"]]
    assert current_decisions(events(ada, grace, said("withdrawn", A, "2026-01-03")))["reviewer"].tolist() == ["Grace"]


def test_a_removal_table_is_never_appended_to(tmp_path: Path) -> None:
    table = tmp_path / "removed.parquet"
    removals((A, 1, 2.0)).to_parquet(table)
    exported = tmp_path / "removed.csv"
    removals((A, 1, 2.0)).to_csv(exported, index=False)
    for file in (table, exported):
        before = file.read_bytes()
        with pytest.raises(InputError, match="to append decisions"):
            append_events(file, [said("kept_by_review", B, "2026-01-01")])
        assert file.read_bytes() == before


def test_an_approval_is_void_once_a_decision_follows() -> None:
    approved = events(said("kept_by_review", A, "2026-01-01"), said("approved", None, "2026-01-02", "Grace"))
    found = approval(approved)
    assert found is not None
    assert found["reviewer"] == "Grace"
    later = pd.concat([approved, events(said("withdrawn", A, "2026-01-03"))])
    assert approval(later) is None
    assert approval(no_events()) is None


def test_a_decision_needs_somebody_who_made_it() -> None:
    with pytest.raises(ValueError, match="name of its reviewer"):
        said("kept_by_review", A, "2026-01-01", reviewer="  ")
    with pytest.raises(ValueError, match="must be one of"):
        said("kept", A, "2026-01-01")


def test_a_review_changes_decision_and_names_but_not_what_the_look_saw() -> None:
    table = removals((A, 1, 2.0), (B, 2, 1.5))
    last = pd.DataFrame({"image_id": ["c.png"], "md5": [C], "score": [0.9]})
    review = events(
        said("kept_by_review", A, "2026-01-01", note="shadow"), said("removed_by_review", C, "2026-01-02", "Grace")
    )
    reviewed = review_removals(table, review, last, LAST_ROUND).set_index("md5")
    assert reviewed.loc[A, ["iteration", "score", "threshold"]].tolist() == [1, 2.0, 1.0]
    assert reviewed.loc[A, ["decision", "reviewer", "note"]].tolist() == ["kept_by_review", "Ada", "shadow"]
    assert reviewed.loc[B, "decision"] == "removed"
    assert reviewed.loc[C, ["iteration", "score", "decision", "reviewer"]].tolist() == [
        3,
        0.9,
        "removed_by_review",
        "Grace",
    ]
    assert reviewed.loc[C, "margin"] == pytest.approx(-0.1)
    # Nothing is written over: the review of a review starts from the same table.
    assert (table["decision"] == "removed").all()


@pytest.mark.parametrize("decision", ["kept_by_review", "removed_by_review"])
def test_a_review_reaches_both_copies_of_which_a_look_removed_one(decision: str) -> None:
    last = pd.DataFrame({"image_id": ["copy.png", "b.png"], "md5": [A, B], "score": [0.9, 0.8]})
    table = review_removals(removals((A, 1, 2.0)), events(said(decision, A, "2026-01-01")), last, LAST_ROUND)
    assert table[["image_id", "iteration", "score", "decision"]].to_numpy().tolist() == [
        ["a.png", 1, 2.0, decision],
        ["copy.png", 3, 0.9, decision],
    ]


def test_standing_removals_are_rows_of_iteration_0_without_a_score() -> None:
    rows = pd.DataFrame({"image_id": ["a.png", "copy.png", "b.png"], "md5": [A, A, B]})
    kept_out = excluded_rows(current_decisions(events(said("removed_by_review", A, "2026-01-01"))), rows)
    assert kept_out["image_id"].tolist() == ["a.png", "copy.png"]  # the content counts, not the name
    assert kept_out["iteration"].tolist() == [0, 0]
    assert kept_out["score"].isna().all()
    assert kept_out["reviewer"].tolist() == ["Ada", "Ada"]


def test_truth_is_null_where_the_manifest_has_no_labels() -> None:
    manifest = pd.DataFrame({"image_id": ["a.png", "b.png"], "label": [None, "defective"], "injected": [False, True]})
    table = with_truth(removals((A, 1, 2.0), (B, 1, 2.0)), manifest)
    assert pd.isna(table["injected"][0])
    assert bool(table["injected"][1]) is True
    fields = [f.name for f in REMOVAL_SCHEMA if f.metadata and f.metadata.get(b"use") == b"evaluation only"]
    assert fields == ["label", "injected"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_runs_removal_table_serves_as_a_file_of_decisions(tmp_path: Path, suffix: str) -> None:
    last = pd.DataFrame({"image_id": [], "md5": [], "score": []})
    table = review_removals(
        removals((A, 1, 2.0), (B, 2, 1.5)), events(said("kept_by_review", A, "2026-01-01")), last, LAST_ROUND
    )
    file = tmp_path / f"decisions{suffix}"
    table.to_csv(file, index=False) if suffix == ".csv" else table.to_parquet(file)
    found = read_events(file)
    assert found[["md5", "decision", "reviewer"]].to_numpy().tolist() == [[A, "kept_by_review", "Ada"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,decision\na.png,kept_by_review\n", "expected columns md5 and decision, found"),
        (f"md5,decision\n{A},keep\n", "decision must be one of .* found 'keep'"),
        ("md5,decision\nXYZ,kept_by_review\n", "md5 must be 32 hexadecimal digits, found 'XYZ'"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "d.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_events(file)
    assert "d.csv" in str(caught.value)


def test_events_are_appended_and_read_back_as_written(tmp_path: Path) -> None:
    file = tmp_path / "reviews" / "decisions.csv"
    first = said("kept_by_review", A, "2026-01-01", note='a "quoted", note')
    append_events(file, [first])
    append_events(file, [said("removed_by_review", B, "2026-01-02")])
    found = read_events(file)
    assert len(found) == 2
    assert found.iloc[0].to_dict() == first
    assert empty_removals().columns.tolist() == REMOVAL_SCHEMA.names


def test_projects_that_share_a_file_by_links_lose_none_of_each_others_decisions(tmp_path: Path) -> None:
    shared = tmp_path / "share" / "decisions.csv"
    append_events(shared, [said("kept_by_review", A, "2026-01-01", "first")])
    shared.chmod(0o640)
    links = [tmp_path / name / "decisions.csv" for name in ("left", "right")]
    for link in links:
        link.parent.mkdir()
        link.symlink_to(shared)

    def decide(number: int) -> None:
        append_events(links[number % 2], [said("kept_by_review", B, f"2026-01-02T00:{number:02d}", f"{number}")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decide, range(24)))
    assert sorted(read_events(shared)["reviewer"]) == sorted(["first", *map(str, range(24))])
    assert all(link.is_symlink() for link in links)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o640


def test_the_later_decision_wins_whatever_its_zone_and_form() -> None:
    """As texts the first of each pair would be the larger."""
    for earlier, later in (
        ("2026-03-01T11:00:00+02:00", "2026-03-01T10:00:00+00:00"),
        ("2026-03-01T10:00:00Z", "2026-03-01T09:30:00-05:00"),
        ("2026-03-01T10:00", "2026-03-01 10:01"),
        ("20260301T100000Z", "2026-03-01T10:00:01Z"),
        ("2026-03-01", "2026-03-01T00:00:01"),
        ("", "1999-01-01"),
    ):
        said_so = [said("removed_by_review", A, later), said("kept_by_review", A, earlier)]
        assert current_decisions(events(*said_so))["decision"].tolist() == ["removed_by_review"], (earlier, later)
    approved = [said("approved", None, "2026-03-01T10:00Z"), said("kept_by_review", A, "2026-03-01T11:00+02:00")]
    assert approval(events(*approved)) is not None


@pytest.mark.parametrize("time", ["yesterday", "01.03.2026 10:00", "2026-13-01", "10:00"])
def test_what_is_no_time_is_refused(tmp_path: Path, time: str) -> None:
    file = tmp_path / "decisions.csv"
    events(said("kept_by_review", A, time)).to_csv(file, index=False)
    with pytest.raises(InputError, match=r"decisions.csv: reviewed_at: expected a time .* found .* \(event 1\)"):
        read_events(file)


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_spreadsheets_csv_does_not_break_the_append(tmp_path: Path, encoding: str, separator: str) -> None:
    file = tmp_path / "decisions.csv"
    before = events(said("kept_by_review", A, "2026-01-01", "Jürgen", "größer als Ä"))
    file.write_bytes(before.to_csv(index=False, sep=separator, lineterminator="\r\n").encode(encoding))
    append_events(file, [said("removed_by_review", B, "2026-01-02", "Zoë")])
    after = read_events(file)
    assert after["reviewer"].tolist() == ["Jürgen", "Zoë"]
    assert after["note"].tolist() == ["größer als Ä", None]
    assert file.read_text(encoding="utf-8").startswith("image_id,md5,")


def test_bytes_of_no_encoding_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_bytes(",".join(REVIEW_SCHEMA.names).encode() + b"\n\x81\xff\x8d,,,,,,\n")
    for use in (read_events, lambda path: append_events(path, [])):
        with pytest.raises(InputError, match=r"decisions.csv"):
            use(file)


def test_a_table_of_final_states_is_refused_with_the_table_to_take(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    pd.DataFrame({"image_id": ["a"], "md5": ["a" * 32], "state": ["kept"], "decided_by": ["Ada"]}).to_parquet(file)
    with pytest.raises(InputError, match=r"table of final states.*name its removals\.parquet"):
        read_events(file)
