"""Without a Prefect server a run has the same folder and the same tables, byte for byte, and asks no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from irp_core.run.directory import RunDirectory
from tasks.runtime.retries import IO_RETRIES
from tasks.runtime.without_prefect import orchestrated, without_prefect
from tests.conftest import make_workspace
from tests.flows.harness import refine_in, table_hashes


@pytest.fixture(scope="module")
def plain(finished: Path, plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's run once more, where any call of a server would fail: nobody listens at that address."""
    with pytest.MonkeyPatch.context() as patch, without_prefect():
        patch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        assert not orchestrated()
        return refine_in(make_workspace(tmp_path_factory.mktemp("plain") / "w"), plant, ["run.orchestrate=false"])


def test_the_run_is_the_same_byte_for_byte(plain: Path, finished: Path) -> None:
    assert plain.name == finished.name  # the setting is no part of what a result depends on
    assert table_hashes(plain) == table_hashes(finished)
    assert orchestrated()


def test_its_folder_holds_the_same_files(plain: Path, finished: Path) -> None:
    def files(run: Path) -> set[str]:
        return {file.relative_to(run).as_posix() for file in run.rglob("*") if file.is_file()}

    assert files(plain) == files(finished)
    assert RunDirectory(plain).mlflow() is not None  # tracked, and versioned
    assert RunDirectory(plain).snapshot(0)


def test_a_step_that_blinked_is_tried_again_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import task

    calls: list[str] = []

    @task(**{**IO_RETRIES, "retry_delay_seconds": 0})
    def read(name: str) -> str:
        calls.append(name)
        if name == "wrong":
            raise ValueError(name)
        if calls.count(name) < 3:
            raise ConnectionError(name)
        return name

    with without_prefect():
        assert read("share") == "share"
        with pytest.raises(ValueError, match="wrong"):
            read("wrong")
    assert calls == ["share"] * 3 + ["wrong"]
