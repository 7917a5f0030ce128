"""The session's one refinement run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_workspace
from tests.flows.harness import refine_in


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, plant: Path, prefect_api: str) -> Path:
    """A finished run on the tiny plant, in a real git + DVC repository with a real MLflow store."""
    return refine_in(make_workspace(tmp_path_factory.mktemp("finished") / "workspace"), plant)


@pytest.fixture
def in_workspace(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run, with its workspace as the current directory."""
    monkeypatch.chdir(finished.parents[1])
    return finished
