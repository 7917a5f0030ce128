"""The recorded story of a line (`make line-demo`) is what it says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_workspace
from tests.flows.harness import store_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("story") / "line")


@pytest.fixture(scope="module")
def story(folder: Path, prefect_api: str) -> Iterator[list]:  # type: ignore[type-arg]
    from flows.line.story import tell_story

    yield list(tell_story(folder, store_of(folder)))


@pytest.mark.timeout(600)
def test_the_nights_of_a_line(story: list) -> None:  # type: ignore[type-arg]
    _, first, second, defects, again, back, last = (chapter.facts for chapter in story)
    assert (first["outcome"], first["aliases"], first["told"]) == ("promoted", {"champion": "1"}, ["irp.promoted"])
    assert first["misses"] == 140

    assert (second["outcome"], second["misses"], second["images"]) == ("promoted", 200, 340)
    assert second["aliases"] == {"champion": "2", "previous": "1"}

    assert (defects["outcome"], defects["misses"]) == ("refused", 60)
    assert defects["aliases"] == second["aliases"]
    assert "irp.refused" in defects["told"]

    assert (again["outcome"], again["versions"], again["told"]) == ("nothing new", 3, [])

    assert (back["aliases"], back["told"]) == ({"champion": "1"}, ["irp.rolled_back"])
    assert story[5].seconds < 1.0

    assert last["outcome"] in ("waits", "refused") and last["aliases"]["champion"] == "1"
    assert last["versions"] == 4


def test_the_audit_tells_all_of_it(story: list, folder: Path) -> None:  # type: ignore[type-arg]
    from irp_core.line.definition import line_params, load_line
    from tasks.audit.lines import describe_line
    from tasks.audit.questions import describe_model

    params = line_params(load_line("line3", folder), folder)
    facts, events = describe_line("line3", params)
    assert facts["champion"] == "line3/1" and "rolled back by shift leader" in facts["in service since"]
    told = events[["event", "version", "replaced"]].iloc[:4].astype(object).where(events["replaced"].notna(), None)
    assert told["event"].tolist() == ["promoted", "promoted", "refused", "rolled back"]
    assert events["version"].tolist()[:4] == ["1", "2", "3", "2"]
    assert events["done"].all()
    with contextlib.chdir(folder):
        model, removals = describe_model("line3/2", params)
    assert "rolled back" in model["line3/2"] and "shift leader" in model["line3/2"]
    assert len(removals) == (removals["reviewer"] == "rework station").sum() > 0
