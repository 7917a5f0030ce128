"""The estimate of a whole run grows with the images, and only what the network has not seen goes through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from irp_core import refine
from irp_core.api import Result
from irp_core.data.manifest import training_rows
from irp_core.results.estimate import estimate
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from tests.conftest import TINY
from tests.sections import sections_of

TIMES = {"prefect": 20.0, "extract": 60.0, "train": 10.0, "score": 5.0}


@pytest.fixture(scope="module")
def result(plant: Path) -> Result:
    return refine(plant, **sections_of([*TINY, "refinement.method=vanilla"]))


@pytest.fixture
def before(result: Result, tmp_path: Path) -> RunDirectory:
    run = RunDirectory(result.save(tmp_path / "runs" / "plant-vanilla-00000001"))
    for stage, seconds in TIMES.items():
        run.add_time(stage, seconds)
    return run


def begun(before: RunDirectory, *, new: bool = False, **section: object) -> RunDirectory:
    run = RunDirectory(before.path.parent / "plant-vanilla-00000002")
    manifest = before.manifest()
    if new:
        manifest["md5"] = [f"{number:032x}" for number in range(len(manifest))]
    run.path.mkdir()
    PreparedSet(run.path).write_manifest(manifest)
    record = before.record()
    run.write_record({**record, "run_id": run.run_id, "params": {**record["params"], **section}})
    return run


def test_images_that_the_store_has_do_not_count_for_the_network(before: RunDirectory) -> None:
    found = estimate(begun(before))
    assert found is not None
    assert (found.run_id, found.seconds) == (before.run_id, pytest.approx(35.0))


def test_new_images_go_through_it(before: RunDirectory) -> None:
    run = begun(before, new=True)
    passed = before.features()["train"]["misses"]
    found = estimate(run)
    assert found is not None
    assert found.seconds == pytest.approx(35.0 + 60.0 * len(training_rows(run.manifest())) / passed)


def test_a_run_of_another_kind_tells_nothing(before: RunDirectory) -> None:
    assert estimate(begun(before, detector={"name": "gaussian"})) is None


def test_a_damaged_run_tells_nothing(before: RunDirectory) -> None:
    run = begun(before)
    (before.path / "run.json").write_text("{")
    assert estimate(run) is None
