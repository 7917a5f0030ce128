"""Twenty thousand removed images: what a person is shown stays small, and nothing is out of reach."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from irp_core.report.lineage import Lineage
from irp_core.report.page import render
from irp_core.run.directory import RunDirectory
from tasks.reports import results
from tasks.review.paging import page_of
from tasks.review.server import ReviewServer
from tasks.review.session import Review
from tests.made_runs import made_run

REMOVED = 20_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return made_run(tmp_path_factory.mktemp("runs") / "large", REMOVED + 1000, REMOVED)


@pytest.fixture(scope="module")
def review(run: RunDirectory) -> Review:
    return Review(run)


def test_from_page_to_page_every_image_comes_once(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.review.paging.PAGE", 4000)
    seen: list[str] = []
    at: str | None = None
    while True:
        page = page_of(review.items, {}, at=at)
        assert len(page["items"]) <= 4000 and page["start"] == len(seen)
        assert page["before"] == (seen[-1] if seen else None)
        seen += [item["md5"] for item in page["items"]]
        at = page["after"]
        if at is None:
            break
    assert seen == review.items["md5"].tolist() and len(seen) > REMOVED


def test_a_filter_and_a_name_reach_any_image(review: Review) -> None:
    some = review.items.iloc[12_345]
    (found,) = page_of(review.items, {}, "removed", some["image_id"].upper())["items"]
    assert found["md5"] == some["md5"]
    # One that no longer fits the filter stays while it is looked at, in its place.
    page = page_of(review.items, {}, "borderline", at=some["md5"])
    assert page["items"][0]["md5"] == some["md5"]
    assert {item["kind"] for item in page["items"][1:]} == {"borderline"}
    assert page_of(review.items, {}, at="f" * 32)["start"] == 0


def test_a_name_that_is_looked_for_changes_no_count_of_the_open_ones(review: Review) -> None:
    name = review.items.iloc[12_345]["image_id"]
    wanted, found = (page_of(review.items, {}, "open", find=find) for find in ("", name))
    assert [item["image_id"] for item in found["items"]] == [name]
    assert [found[key] for key in ("decided", "removed_open")] == [wanted["decided"], wanted["removed_open"]]
    first = review.items["md5"].iloc[0]
    said = {first: {"md5": first, "decision": "kept_by_review"}}
    page = page_of(review.items, said, "open", at=first)  # one that was just decided stays in view, and is decided
    assert page["decided"] == 1 and page["first_open"] == review.items["md5"].iloc[1]


def test_an_answer_and_a_decision_stay_small(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its tables are written again at every decision, which is not what is asked here.
    monkeypatch.setattr("irp_core.run.review_log.write_removal_tables", lambda *_: None)
    server = ReviewServer(Review(run), "Ada")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(base_url=server.url) as client:
            answer = client.get("items")
            first = answer.json()
            assert first["total"] > REMOVED and first["removed_open"] == REMOVED and first["decided"] == 0
            assert len(answer.content) < 100_000
            md5 = first["items"][0]["md5"]
            done = client.post("decision", json={"md5": md5, "decision": "keep", "reviewer": "Ada"})
            assert done.status_code == 200 and done.json() == {"can_undo": True, "approved": None}
            now = client.get("items", params={"at": md5}).json()
            assert (now["decided"], now["removed_open"]) == (1, REMOVED - 1)
            assert now["items"][0]["review"]["reviewer"] == "Ada"
            following = client.get("items", params={"show": "open"}).json()
            assert following["items"][0]["md5"] == first["items"][1]["md5"]
            assert client.get("items", params={"show": "Guess!"}).status_code == 422
    finally:
        server.stop()
        thread.join()


def test_the_report_of_twenty_thousand_removals_is_small_and_says_where_the_rest_is(
    run: RunDirectory, tmp_path: Path
) -> None:
    page = render(run, tmp_path / "report.html", Lineage({}, []), find=lambda *_: None).read_text(encoding="utf-8")
    assert len(page) < 1_000_000
    assert f"{REMOVED - 240} more are in removals.parquet" in page


def test_prefect_gets_the_first_rows_and_is_told_of_the_others(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}

    def note(kind: str, content: Any, **about: Any) -> None:
        made[kind] = (content, about)

    for kind in ("markdown", "table", "link"):
        monkeypatch.setattr(results, f"create_{kind}_artifact", partial(note, kind))
    results.publish_artifacts.fn(str(run.path))
    table, about = made["table"]
    assert len(table) == 200 and len(json.dumps(table)) < 100_000
    assert f"the first 200 of {REMOVED} rows" in about["description"] and "removals.parquet" in about["description"]
