"""A training set larger than what cells are extracted of: the final detector sees those of a sample, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from irp_core import refine
from irp_core.data.manifest import training_rows
from irp_core.features.feature_set import Local
from irp_core.features.pipeline import FeaturePipeline
from irp_core.params_file import load_params
from irp_core.refinement import scoring
from irp_core.refinement.scoring import drawn_rows, mapped, only_of
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import read_scores
from tasks.review.server import ReviewServer
from tasks.review.session import Review
from tasks.runtime.without_prefect import without_prefect
from tests.conftest import TINY, make_workspace
from tests.flows.harness import refine_in, store_of
from tests.sections import sections_of

DRAWN = 14
DEFAULT = ["refinement.method=careful", "refinement.repeats=1", "detector.name=ensemble", "features.patch_grid=4"]


@pytest.fixture(scope="module")
def few_drawn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "MAPPED", DRAWN)
        yield


@pytest.fixture(scope="module")
def large(few_drawn: None, plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with without_prefect():
        workspace = make_workspace(tmp_path_factory.mktemp("large") / "workspace")
        return refine_in(workspace, plant, [*DEFAULT, "run.orchestrate=false", "features.store=features"])


def test_cells_are_extracted_of_the_sample_alone(large: Path) -> None:
    run = RunDirectory(large)
    trained = training_rows(run.manifest())
    assert trained["md5"].nunique() > DRAWN
    held = (_held(large, "cells", trained["md5"].tolist()), _held(large, "patches", trained["md5"].tolist()))
    assert held == (mapped(trained["md5"]), frozenset(trained["md5"]))


def _held(run: Path, need: Local, md5s: list[str]) -> frozenset[str]:
    params = load_params(None, [*TINY, *DEFAULT, f"features.store={run.parents[1] / 'features'}"])
    stored = FeaturePipeline(params, None, [need]).stored
    lacking = {md5 for md5, _ in stored.store(stored.local[need]).missing(md5s, 1)}
    return frozenset(md5s) - lacking


def test_the_threshold_is_the_samples_and_says_so(large: Path) -> None:
    run = RunDirectory(large)
    everything = training_rows(run.manifest())
    point = run.summary()["operating"]
    assert point["drawn_from"] == len(everything)
    assert set(read_scores(run.step("operating"))["md5"]) == mapped(everything["md5"])
    said = f"training images (drawn by content from {len(everything)})"
    assert said in run.report.read_text()
    log = run.log.read_text()
    assert "drawn by content, have cells" in log
    assert "drawn by content, stand for all" in log
    assert len(run.images()) == len(everything)  # every image has its row, and its scores of the rounds
    assert run.scores(0)["score"].notna().all()


def test_the_review_shows_every_picture_and_the_maps_of_the_sample(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(large.parents[1])
    run = RunDirectory(large)
    everything = training_rows(run.manifest())["md5"]
    server = ReviewServer(Review(run), "ada")
    some, others = mapped(everything), set(everything) - mapped(everything)
    assert all(server.picture(md5, "small") for md5 in everything)
    assert all(server.picture(md5, "map") for md5 in some)
    assert [md5 for md5 in others if server.picture(md5, "map")] == []
    assert {item["md5"] for item in server.items("all", "", None)["items"]} == set(server.table()["md5"])


def test_the_audit_makes_all_of_it_again(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.audit.verify import verify

    monkeypatch.chdir(large.parents[1])
    params = load_params(None, [*TINY, *DEFAULT, f"tracking.uri={store_of(large.parents[1])}"])
    findings = verify(large.name, params, rescore=True)
    assert [finding for finding in findings if finding.status == "failed"] == []
    assert "rescored" in {finding.check for finding in findings if finding.status == "ok"}


def test_python_comes_to_the_same_end(large: Path, plant: Path) -> None:
    result = refine(plant, **sections_of([*TINY, *DEFAULT]))
    run = RunDirectory(large)
    shared = [name for name in result.images if name in run.images()]
    pd.testing.assert_frame_equal(result.images[shared], run.images()[shared])
    assert result.threshold == run.summary()["operating"]["threshold"]
    assert result.summary["operating"]["drawn_from"] == len(training_rows(run.manifest()))


def test_a_set_that_is_not_larger_has_the_cells_of_all(few_drawn: None) -> None:
    params = load_params(None, DEFAULT)
    rows = pd.DataFrame({"md5": [f"{number:032x}" for number in range(DRAWN)]})
    assert only_of(params, rows["md5"].tolist()) == {}
    assert drawn_rows(params, rows, rows) is rows
    more = pd.DataFrame({"md5": [f"{number:032x}" for number in range(DRAWN + 1)]})
    assert len(drawn_rows(params, more, more)) == DRAWN
    every = load_params(None, [*DEFAULT, "refinement.method=irp"])  # scored by the final detector itself
    assert only_of(every, more["md5"].tolist()) == {}
