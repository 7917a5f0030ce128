"""`dvc repro` itself, in a repository of its own: what re-runs, what does not, and what a failing cell does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from flows.paper.cell import _runs
from flows.paper.figures import _studied
from flows.paper.jobs import longest_first
from flows.paper.places import APART, cell, study
from flows.paper.progress import Clock, duration
from irp_core.methods import METHODS
from irp_core.params_file import load_params
from tests.flows.harness import store_of

ROOT = Path(__file__).parents[2]
ENTITY = "tiny"
SMALL: dict[str, dict[str, Any]] = {
    "images": {"size": 64},
    "views": {"train": 2, "score": 2},
    "features": {"scales": [64, 32], "cell_scale": 128, "cell": 16},
    "differnet": {"blocks": 2, "hidden": 16},
    "training": {"epochs": 2, "retrain_epochs": 1},
    "refinement": {"lambda": 1.15, "max_iterations": 2, "max_one_iterations": 2},
    "sweep": {
        "entities": [ENTITY],
        "levels": [0, 50],
        "seeds": [0],
        "methods": ["vanilla", "irp", "oracle"],
        "epochs": {},
        "demo_size": 64,
    },
    "study": {"level": 50, "widths": [8, 16], "lambdas": [1.02, 1.3], "protocol_seeds": [0]},
    "figures": {"gallery": 3, "dpi": 60},
}


def set_params(workspace: Path, changes: dict[str, dict[str, Any]]) -> None:
    file = workspace / "params.yaml"
    values = yaml.safe_load(file.read_text())
    for section, keys in changes.items():
        values[section] |= keys
    file.write_text(yaml.safe_dump(values, sort_keys=False))


def dvc(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(workspace),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        # One processor, so one process per cell: for runs this small, importing the libraries is the work.
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )


def stages_run(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, plant: Path) -> Path:
    """A copy of this project as a git and DVC repository with a tiny sweep; the entity's folder is a link."""
    workspace = tmp_path_factory.mktemp("project")
    for name in ("flows", "tasks", "irp_core", "params"):
        shutil.copytree(ROOT / name, workspace / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".dvc/config", ".dvc/.gitignore", ".dvc/plots/auroc.json"):
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, workspace / name)
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, workspace / name)
    shutil.copytree(ROOT / "docs/results/benchmarks", workspace / "docs/results/benchmarks")
    set_params(workspace, SMALL)
    (workspace / "data" / "raw").mkdir(parents=True)
    (workspace / "data" / "raw" / ENTITY).symlink_to(plant, target_is_directory=True)
    store_of(workspace)
    for command in (
        ["init", "-q"],
        ["config", "user.name", "tester"],
        ["config", "user.email", "tester@example.org"],
        ["add", "."],
        ["commit", "-qm", "start"],
    ):
        subprocess.run(["git", *command], cwd=workspace, check=True)
    return workspace


@pytest.mark.timeout(600)
def test_dvc_repro_runs_what_depends_on_a_change_and_nothing_else(
    project: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, studied = f"refine@{ENTITY}-0", f"refine@{ENTITY}-50", f"study@{ENTITY}"
    extracted = dvc(project, "repro", "extract")
    assert stages_run(extracted.stdout) == [f"prepare@{ENTITY}", f"extract@{ENTITY}"], extracted.stderr

    # A file in the place of its runs makes one cell fail: the other is finished, the failed one named.
    monkeypatch.chdir(project)
    blocked = _runs(ENTITY, 0, load_params(project / "params.yaml"))
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    failed = dvc(project, "repro", "--keep-going")
    assert failed.returncode != 0
    assert stages_run(failed.stdout) == ["demo", first, second, studied, "studies"]
    assert f"Cell 1 of 2: {ENTITY}, 50 % defective" in failed.stdout
    assert "left" in failed.stdout
    assert f"failed to reproduce '{first}'" in failed.stderr.splitlines()[-1]

    # It alone is tried again; then all is done.
    blocked.unlink()
    mended = dvc(project, "repro")
    assert mended.returncode == 0, mended.stderr
    began, *after = stages_run(mended.stdout)
    assert (began, sorted(after)) == (first, ["figures", "page", "tables"])
    assert f"Cell 2 of 2: {ENTITY}, 0 % defective" in mended.stdout
    assert "All 2 cells are done" in mended.stdout
    assert dvc(project, "status").stdout.strip() == "Data and pipelines are up to date."
    assert stages_run(dvc(project, "repro").stdout) == []
    _check_results(project)
    _check_metrics_and_plots(project)

    set_params(project, {"figures": {"font_size": 7.0}})
    assert set(json.loads(dvc(project, "status", "--json").stdout)) == {"figures", "studies"}
    set_params(project, {"refinement": {"lambda": 1.3}})
    # `tables` follows when the cells have changed.
    assert set(json.loads(dvc(project, "status", "--json").stdout)) == {
        first,
        second,
        studied,
        "figures",
        "page",
        "studies",
    }


def test_the_default_method_may_be_swept_beside_the_papers(
    tmp_path: Path, plant: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.paper import jobs
    from flows.paper.__main__ import main

    for name in ("flows", "tasks", "irp_core", "params", "dvc.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    set_params(tmp_path, SMALL)
    swept = ["vanilla", "robust", "careful"]
    set_params(
        tmp_path,
        {
            "features": {"patch_grid": 4, "kurtosis_scale": 128},
            "refinement": {"rule": "mad", "k": 1.0, "max_iterations": 1},  # few images, and yet one is removed
            "sweep": {"levels": [50], "methods": swept},
            "figures": {"pictures": False},
            "tracking": {"uri": store_of(tmp_path)},
        },
    )
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / ENTITY).symlink_to(plant, target_is_directory=True)
    shutil.copytree(ROOT / "docs/results/benchmarks", tmp_path / "docs/results/benchmarks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    monkeypatch.setattr(jobs, "processors", lambda: 1)  # in this process
    for stage in (
        ["prepare", ENTITY],
        ["extract", ENTITY],
        ["refine", ENTITY, "50"],
        ["study", ENTITY],
        ["tables"],
        ["figures"],
        ["studies"],
        ["page"],
    ):
        assert main(stage) == 0, stage
    results = tmp_path / "docs" / "results"
    runs = pd.read_csv(results / "tables" / "runs.csv").set_index("method")
    assert list(runs.index) == swept
    assert runs.loc["robust", "removed_bad"] + runs.loc["robust", "removed_good"] > 0
    assert "minus vanilla" in (results / "tables" / "differences-robust.md").read_text()
    assert runs.loc["careful", "stop_reason"]  # the default, which asks: what it removes of so few images is its affair
    assert "| robust" in (results / "tables" / "table1.md").read_text()
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "robust (`robust`)" in page
    assert "left out of this copy" in page
    assert "robust" in (results / "figures" / "figure1.svg").read_text()


def _check_metrics_and_plots(project: Path) -> None:
    metrics = json.loads(dvc(project, "metrics", "show", "--json").stdout)[""]["data"]
    for name in ("all", f"{ENTITY}-0", f"{ENTITY}-50"):
        assert set(metrics[f"docs/results/metrics/{name}.json"]["data"]) == {"vanilla", "irp", "oracle"}
    plots = dvc(project, "plots", "show", "-o", "plots")
    assert plots.returncode == 0, plots.stderr
    page = (project / "plots" / "index.html").read_text()
    assert "AUROC against noise level" in page
    assert "DVC_METRIC" not in page
    assert "figure1" in page


def _check_results(project: Path) -> None:
    results = project / "docs" / "results"
    tables = {f"table{n}.{kind}" for n in (1, 2, 3) for kind in ("csv", "md", "tex")}
    assert tables <= {file.name for file in (results / "tables").iterdir()}
    figures = {f"figure{n}.{kind}" for n in (1, 3, 4, 5) for kind in ("svg", "png")}
    assert figures == {file.name for file in (results / "figures").iterdir()}
    runs = pd.read_csv(results / "tables" / "runs.csv")
    assert len(runs) == 2 * 3
    assert runs.groupby("level")["n_start"].unique().map(list).to_dict() == {0: [16], 50: [16]}
    assert runs.loc[runs["level"] == 50, "n_injected"].eq(8).all()
    oracle = runs[(runs["method"] == "oracle") & (runs["level"] == 50)]
    assert oracle[["removed_bad", "removed_good"]].to_numpy().tolist() == [[8, 0]]
    page = (project / "docs" / "results.md").read_text()
    assert "## What it says" in page
    assert "6 runs" in page
    assert re.search(rf"\| {ENTITY} +\| +16 \| in sample, after a tenth of the epochs \|", page)
    _check_studies(results / "studies")
    assert str(project) not in page
    # The sweep's detector reads pooled features only, and no map is asked for.
    assert len(list((project / "data" / "features" / ENTITY).iterdir())) == 1
    # The models are gone, the tables are kept.
    assert not list((project / "runs" / "sweep").rglob("weights.safetensors"))
    assert len(list((project / "runs" / "sweep").rglob("finished.json"))) == 6


def _check_studies(folder: Path) -> None:
    assert {f"figure{n}.{kind}" for n in (6, 7, 8) for kind in ("svg", "png")} <= {
        file.name for file in folder.iterdir()
    }
    studied = pd.read_csv(folder / "lambda.csv")
    assert {"vanilla", "oracle", "in_sample"} <= set(studied["scores"])
    oracle = studied[studied["scores"] == "oracle"]
    assert oracle[["removed_good", "removed_bad", "precision", "recall"]].to_numpy().tolist() == [[0, 8, 1, 1]] * 2
    assert studied.groupby(["width", "scores"])["recall"].is_monotonic_decreasing.all()  # a higher λ finds no more
    memory = pd.read_csv(folder / "memory.csv")
    assert memory.groupby("width")["epoch"].apply(list).to_dict() == {8: [1, 2], 16: [1, 2]}
    assert memory["ranking"].between(0, 1).all()
    protocols = pd.read_csv(folder / "protocols.csv")
    tested = protocols.groupby("protocol")["n_test"].first()
    extra = tested["half of the defects, tested too"] - tested["half of the defects"]
    assert extra == protocols.loc[protocols["protocol"] == "half of the defects", "n_injected"].iloc[0]


def test_widths_that_were_measured_apart_stand_beside_the_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, rows in {
        study(ENTITY): [(ENTITY, 8, 0.9)],
        APART: [(ENTITY, 8, 0.1), (ENTITY, 2048, 0.8), ("another", 2048, 0.7)],
    }.items():
        folder.mkdir(parents=True)
        pd.DataFrame(rows, columns=["entity", "width", "auroc"]).to_csv(folder / "lambda.csv", index=False)
    assert _studied("lambda", [ENTITY]).to_numpy().tolist() == [[ENTITY, 8, 0.9], [ENTITY, 2048, 0.8]]
    for folder, protocol in ((study(ENTITY), "own"), (APART, "apart")):
        pd.DataFrame({"entity": [ENTITY], "protocol": protocol}).to_csv(folder / "protocols.csv", index=False)
    assert _studied("protocols", [ENTITY])["protocol"].tolist() == ["own"]


def test_runs_that_others_wait_for_start_first_and_long_ones_before_short_ones() -> None:
    assert longest_first(list(METHODS)) == [
        "vanilla", "irp", "irp_max_one", "robust", "random", "equal_epochs", "osr", "careful", "answered", "oracle",
    ]  # fmt: skip
    assert longest_first(["osr", "robust"]) == ["robust", "osr"]


def test_the_clock_estimates_from_the_cells_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = load_params(None, ["sweep.entities=[a,b]", "sweep.levels=[0,50]"])
    clock = Clock(params, {"a": 100, "b": 50}, log=tmp_path / "log.jsonl")
    assert clock.left(("a", 0)) is None
    # A third of the first cell after 20 s: 40 s of it, 60 s of the next, and half of that for each of b's.
    assert clock.left(("a", 0), elapsed=20.0, done=1 / 3) == pytest.approx(40 + 60 + 30 + 30)
    clock.record("a", 0, 60.0)
    cell("a", 0).mkdir(parents=True)
    assert clock.finished() == {("a", 0)}
    assert clock.left(("a", 50)) == pytest.approx(60 + 30 + 30)
    clock.record("b", 0, 10.0)
    cell("b", 0).mkdir(parents=True)
    assert clock.left(("a", 50)) == pytest.approx(60 + 10)
    assert clock.total() == pytest.approx(70.0)
    # Other settings: nothing is finished, the durations are still the best guess.
    other = Clock(load_params(None, ["sweep.entities=[a,b]", "training.epochs=7"]), clock.images, log=clock.log)
    assert other.finished() == set()
    assert other.estimate("b") == 10.0
    assert Clock(params, clock.images, "other code", clock.log).finished() == set()
    assert [duration(seconds) for seconds in (None, 0.0, 42.0, 600.0, 7200.0)] == [
        "time left not known yet",
        "nothing left to refine",
        "about 40 s left",
        "about 10 min left",
        "about 2.0 h left",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["refine", "tile", "10"], "tile at 10 % is not part of the sweep"),
        (["nonsense"], "usage: python -m flows.paper"),
        (["prepare", "absent"], "expected a folder of images, found nothing"),
    ],
)
def test_a_stages_mistake_is_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from flows.paper.__main__ import main

    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
