"""The command line as a person meets it: exit codes, one-sentence errors, a quiet terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from flows.cli.main import app, main
from tests.conftest import TINY, make_workspace
from tests.flows.harness import store_of
from tests.flows.processes import irp

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["refine", "absent"], "absent: expected a folder of images, found nothing."),
        (["refine"], "irp refine expects either PATH or --resume RUN."),
        (["refine", ".", "-S", "refinement.lamda=2"], "unknown key 'refinement.lamda'"),
        (["refine", ".", "--compare", "magic"], "Got 'magic'."),
        (["refine", "--resume", "absent"], "expected a run (its folder, its id"),
        (["show", "absent"], "expected a run (its folder, its id"),
        (["review", "absent"], "expected a run (its folder, its id"),
        (["score", "absent", "."], "expected"),
        (["refine", ".", "--lambda", "2"], "No such option: --lambda"),
        # No option without effect: what a run that is resumed, or a comparison, does not obey is refused.
        (["refine", "--resume", "x", "-S", "run.seed=1"], "--set-param goes with PATH alone"),
        (["refine", "--resume", "x", "-p", "x.yaml"], "--params goes with PATH alone"),
        (["refine", "--resume", "x", "--manifest", "x"], "--manifest goes with PATH alone"),
        (["refine", "--resume", "x", "--compare", "irp"], "--compare goes with PATH alone"),
        (["refine", "--resume", "x", "--no-dvc"], "--no-dvc goes with PATH alone"),
        (["refine", ".", "--compare", "irp", "--manifest", "x"], "--manifest goes with one method alone"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["irp", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert len(output.err.strip().splitlines()) == 1


def test_an_unreadable_data_set_inside_a_flow_is_one_sentence_too(tmp_path: Path, prefect_api: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.png").write_text("nothing")
    done = irp("refine", "data", "--no-dvc", cwd=tmp_path)
    assert done.wait() == 2
    assert "expected at least one readable image" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_help_reads_well() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("refine", "prepare", "runs", "show", "score"):
        assert command in result.output


def test_prepare_writes_the_manifest(plant: Path, tmp_path: Path, prefect_api: str) -> None:
    done = irp("prepare", str(plant), "-S", "contamination.fraction=0.2", cwd=tmp_path)
    assert done.wait() == 0, done.stderr
    assert done.stderr == ""
    manifest = pd.read_parquet(tmp_path / "prepared" / "manifest.parquet")
    assert manifest["injected"].sum() == 6
    assert "--manifest prepared" in done.stdout


def test_show_and_runs_and_score(in_workspace: Path, plant: Path, tmp_path: Path) -> None:
    workspace = in_workspace.parents[1]
    shown = irp("show", str(in_workspace), "--removed", cwd=workspace)
    assert shown.wait() == 0, shown.stderr
    assert "Removed images" in shown.stdout
    assert "irp score" in shown.stdout
    listed = irp("runs", cwd=workspace)
    assert listed.wait() == 0, listed.stderr
    assert in_workspace.name in listed.stdout  # whole, at 80 columns too: it is what other commands take

    images = tmp_path / "new"
    images.mkdir()
    kept = pd.read_parquet(in_workspace / "scores.parquet").query("iteration == iteration.max()").iloc[:2]
    for row in kept.itertuples():
        (images / Path(row.image_id).name).write_bytes((plant / row.image_id).read_bytes())
    (images / "broken.png").write_bytes(b"PNG?")
    output = tmp_path / "scores.csv"
    scored = irp("score", str(in_workspace), str(images), "-o", str(output), cwd=workspace)
    assert scored.wait() == 0, scored.stderr
    table = pd.read_csv(output)
    assert len(table) == 3
    assert table["error"].notna().sum() == 1
    assert "Unreadable" in scored.stderr
    # A training image gets the very score it had in the run.
    assert sorted(table["score"].dropna()) == pytest.approx(sorted(kept["score"]), rel=1e-12)
    assert set(table["decision"].dropna()) <= {"normal", "anomalous"}


def test_the_demo_compares_methods_quietly_and_leaves_nothing_running(tmp_path: Path, prefect_api: str) -> None:
    workspace = make_workspace(tmp_path / "w")
    store_of(workspace)
    (workspace / "params.yaml").write_text("{}\n")
    options = [part for override in (*TINY, "contamination.set_size=60") for part in ("-S", override)]
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "demo", "--size", "64", *options],
        cwd=workspace,
        env={**environment, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "prefect")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # On a slow machine a step says every ten seconds how far it is.
    assert [line for line in done.stderr.splitlines() if not re.search(r": \d+ of \d+ after \d+ s", line)] == []
    for method in ("vanilla", "irp", "careful", "answered", "oracle"):
        assert method in done.stdout
    (page,) = workspace.glob("runs/demo-irp-*/report.html")
    text = page.read_text()
    assert len(text) < 5_000_000
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert text.count("<script") == text.count("<script>") == 1  # within the page: it hears the key that shows the maps
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in processes
