"""Shared fixtures: a small demo plant, and one workspace with real git, DVC, Prefect and MLflow."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# Before anything imports torch, Prefect or MLflow: one thread (tests are small, and runs compare byte for
# byte), and homes of their own, so that a developer's Prefect database and DVC cache stay out of it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tasks.runtime.environment  # noqa: F401
from irp_core.config import Params
from irp_core.demo.plant import write_demo_plant

# How long an example takes depends on what else the machine does, and on what the first one imports.
hypothesis.settings.register_profile("irp", deadline=None)
hypothesis.settings.load_profile("irp")

TINY = [
    "images.size=64",
    "detector.name=differnet",
    "views.train=2",
    "views.score=2",
    "features.scales=[64,32]",
    "features.kurtosis_scale=128",
    "features.cell_scale=128",
    "features.cell=16",
    "differnet.blocks=2",
    "differnet.hidden=16",
    "training.epochs=4",
    "training.retrain_epochs=2",
    "refinement.method=irp",
    "refinement.lambda=1.15",
    "refinement.max_iterations=3",
    "contamination.fraction=0.2",
]
"""Overrides under which a whole run takes seconds."""


def shared() -> Path:
    """Folder of real images and weights (see the `realdata` marker)."""
    return Path(os.environ.get("IRP_SHARED", Path(__file__).parents[2] / "shared")).resolve()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not (shared() / "data").is_dir():
        skip = pytest.mark.skip(reason=f"real images are not at {shared()} (set IRP_SHARED)")
        for item in items:
            if "realdata" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo plant at 64 px: 24 + 8 good images, 16 defective ones."""
    root: Path = write_demo_plant(
        tmp_path_factory.mktemp("plant") / "plant", size=64, train_good=24, test_good=8, defective=16, seed=1
    )
    return root


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """A quarter of the bootstrap resamples, for simulations of many sets: each resample costs three fits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("irp_core.statistics.mixture._RESAMPLES", 25)
        yield


@pytest.fixture(scope="session")
def tiny() -> Params:
    """Parameters under which a whole run takes seconds."""
    from irp_core.params_file import load_params

    return load_params(None, TINY)


def make_workspace(path: Path) -> Path:
    """A git + DVC repository in `path`."""
    shutil.copytree(_empty_repository(), path, dirs_exist_ok=True)
    return path


@cache
def _empty_repository() -> Path:
    """One git + DVC repository for the whole process, to be copied: making one takes a second."""
    path = Path(tempfile.mkdtemp(prefix="irp-repository-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    subprocess.run(["git", "init", "-q", "."], cwd=path, check=True)
    for key, value in (("user.name", "tester"), ("user.email", "tester@example.org")):
        subprocess.run(["git", "config", key, value], cwd=path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=path, check=True)
    return path


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh git + DVC repository as the current directory."""
    monkeypatch.chdir(make_workspace(tmp_path / "workspace"))
    return Path.cwd()


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One real Prefect server for the whole session, with a database of its own."""
    from tasks.runtime.prefect_server import prefect_server, without_heartbeats

    folder = tmp_path_factory.mktemp("prefect")
    patch = pytest.MonkeyPatch()
    patch.setenv("PREFECT_HOME", str(folder))
    patch.delenv("PREFECT_API_URL", raising=False)
    with prefect_server(folder / "server.log") as wait:
        wait()
        with without_heartbeats():
            yield os.environ["PREFECT_API_URL"]
    patch.undo()
