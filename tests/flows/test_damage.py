"""Files of an interrupted run that were damaged meanwhile: none is used, what can be made again is, and it is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import flows.refine
from flows.cli.session import prefect_session
from flows.prepare import prepare_dataset
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.features.segments import open_segments
from irp_core.inspection.saving import described_in
from irp_core.run.begun import check_begun
from irp_core.run.directory import RunDirectory
from irp_core.run.glance.overview import overview
from irp_core.run.inputs import RunInputs
from irp_core.run.lasting import check_results
from tasks.audit.whatif import suppose
from tasks.review.session import Review
from tasks.scoring import local_model
from tasks.steps.prepare import create_run
from tasks.versions import snapshots
from tests.flows.harness import refine_in, table_hashes

pytestmark = pytest.mark.trust


def _flip(path: Path, at: int = -9) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(content))


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[: len(content) // 2])


def _edited(path: Path) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "params": {**record["params"], "run": {"seed": 7}}}))


HEALED: list[tuple[str, Callable[[Path], object]]] = [
    ("iterations/00/train/weights.safetensors", _flip),
    ("iterations/00/train/detector.json", _half),
    ("iterations/00/train/trained.json", _half),
    ("iterations/00/train/history.parquet", _flip),
    ("iterations/00/score/scores.parquet", _flip),
    ("iterations/00/score/lower_bound.json", _half),
    ("iterations/00/snapshot/snapshot.json", _half),
    ("iterations/01/decide/training_set.parquet", _flip),
    ("iterations/01/decide/decided.parquet", _half),
    ("iterations/01/decide/decision.json", _flip),
    ("iterations/01/decide/step.json", _half),
    ("iterations/01/train/weights.safetensors", _half),
    ("operating/operating.json", _flip),
    ("features.json", _half),
    ("mlflow.json", _half),
    ("summary.json", _half),
    ("timings.jsonl", _flip),
    ("iterations.parquet", _half),
    ("scores.parquet", _flip),
    ("removals.parquet", _half),
    ("model/weights.safetensors", _flip),
    ("model/inspector.json", _half),
]


def test_a_run_with_every_output_damaged_ends_as_it_would_have(
    finished: Path, plant: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One run with all the damages at once: a run for each would take minutes."""
    workspace = tmp_path / "workspace"
    shutil.copytree(finished.parents[1], workspace, symlinks=True)
    (workspace / "mlflow.db").unlink()  # of the other workspace: it names that one's artifacts
    run = workspace / "runs" / finished.name
    for name, damage in HEALED:
        damage(run / name)
    segments = sorted(workspace.glob(".irp/features/*/*.arrow"))
    _flip(segments[0])
    for file in (workspace / "snapshots" / run.name).glob("*-01.dvc"):
        _half(file)
    again = refine_in(workspace, plant)
    assert again == run
    assert table_hashes(run) == table_hashes(finished)
    said = caplog.text
    for name in (
        *{str(Path(name).parent) for name, _ in HEALED if "/" in name and "model" not in name},
        ".dvc",
        ".arrow",
    ):
        assert name in said
    for file in finished.rglob("*.parquet"):
        name = file.relative_to(finished)
        if "history" not in name.name:  # seconds
            assert (run / name).read_bytes() == file.read_bytes(), name


@pytest.mark.parametrize(("name", "damage"), [("run.json", _edited), ("run.json", _half), ("manifest.parquet", _flip)])
def test_what_a_run_began_with_is_refused_when_it_was_changed(
    name: str, damage: Callable[[Path], object], in_workspace: Path, tmp_path: Path
) -> None:
    copy = tmp_path / in_workspace.name
    shutil.copytree(in_workspace, copy)
    damage(copy / name)
    with pytest.raises(InputError, match=name):
        flows.refine.resume(str(copy))


def _row_less(path: Path) -> None:
    pd.read_parquet(path).iloc[1:].to_parquet(path)


def _edited_score(path: Path) -> None:
    table = pd.read_parquet(path)
    table.loc[0, "score"] *= 1.001
    table.to_parquet(path)


def _reordered(path: Path) -> None:
    """The keys of a segment's rows in another order: every number is there, and belongs to another image."""
    content = path.read_bytes()
    ((_, found),) = [one for one in open_segments(path.parent, ()) if one[0] == path.name]
    assert not isinstance(found, str)
    keys = found[1].digests.astype(">u8").tobytes()
    path.write_bytes(content.replace(keys, b"".join(keys[at : at + 16] for at in range(len(keys) - 16, -1, -16))))


def _middle(path: Path) -> None:
    _flip(path, -path.stat().st_size // 2)


def _larger(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "threshold": 99.0}))


# Each as a whole file of its kind, which only its digest gives away.
SKILFUL: dict[str, Callable[[Path], object]] = {
    "iterations/01/decide/training_set.parquet": _row_less,
    "iterations/00/score/scores.parquet": _edited_score,
    "iterations/01/decide/decision.json": _larger,
    "operating/operating.json": _larger,
    "manifest.parquet": _row_less,
    "near_copies.parquet": lambda path: shutil.copyfile(path.with_name("duplicates.parquet"), path),
    "images.parquet": _row_less,
    "removals.parquet": _edited_score,
    "test_scores.parquet": _edited_score,
    "model/inspector.json": _larger,
    "model/localiser/detector.json": lambda path: path.write_text(path.read_text() + " "),
}
# Nothing is computed from these: what they say is said anew by the next session, or it is only read by people.
SAID_ANEW = {
    "digests.json",  # `irp audit verify` holds it against DVC and MLflow
    "features.json", "finished.json", "mlflow.json", "report.html", "run.log", "timings.jsonl",
}  # fmt: skip
OF_THE_BEGINNING = {
    "run.json", "manifest.parquet", "duplicates.parquet", "ignored.parquet", "near_copies.parquet", "notes.parquet",
    "quarantine.parquet",
}  # fmt: skip


def _step(run: RunDirectory, file: Path) -> tuple[str, int | None]:
    parts = file.parent.relative_to(run.path).parts
    return parts[-1], int(parts[1]) if parts[0] == "iterations" else None


def _noticed(run: RunDirectory, file: Path, key: str | None) -> bool:
    """Whether a file is found to be damaged by what is asked before it is used.

    Args:
        key: of the step that the file is of, before.
    """
    if file.suffix == ".arrow":
        ((_, found),) = [one for one in open_segments(file.parent, ()) if one[0] == file.name]
        dtype = np.dtype(json.loads((file.parent / "spec.json").read_text()).get("dtype", "float32"))
        return isinstance(found, str) or found[0].damage(dtype) is not None
    if file.suffix == ".dvc":
        return snapshots._damage(run.snapshot(int(file.stem[-2:])), file) is not None
    if key is not None:  # the step is made again, as the test above shows
        return run.key(*_step(run, file)) != key or run.damage(*_step(run, file)) is not None
    name = file.relative_to(run.path).as_posix()
    try:
        if name in OF_THE_BEGINNING:
            check_begun(run)
        elif name.startswith("model/"):
            described_in(local_model(str(run.path)) or run.path)
        else:
            check_results(run)
    except InputError as error:
        return str(file) in str(error)
    return False


@pytest.mark.parametrize("damage", [_middle, _half, None], ids=["a flipped byte", "half of it", "skilful"])
def test_each_stored_file_alone_is_noticed_before_it_is_used(
    damage: Callable[[Path], object] | None, in_workspace: Path, tmp_path: Path
) -> None:
    shutil.copytree(in_workspace, tmp_path / "runs" / in_workspace.name)
    run, project = RunDirectory(tmp_path / "runs" / in_workspace.name), in_workspace.parents[1]
    store = tmp_path / "features"
    shutil.copytree(project / ".irp" / "features", store)
    versions = tmp_path / "snapshots"
    shutil.copytree(project / "snapshots" / run.run_id, versions)
    files = [*run.path.rglob("*"), *store.glob("*/*.arrow"), *versions.glob("iteration-*.dvc")]
    files = [file for file in files if file.is_file() and not file.name.startswith(".")]
    cases = [(file, damage or _skilful(run, file)) for file in files if damage or _skilful(run, file)]
    unseen = []
    for file, harm in cases:
        if file.parent == run.path and file.name in SAID_ANEW:
            continue
        whole = file.read_bytes()
        key = run.key(*_step(run, file)) if (file.parent / "step.json").is_file() else None
        assert harm is not None
        harm(file)
        assert file.read_bytes() != whole, file
        if not _noticed(run, file, key):
            unseen.append(file.relative_to(tmp_path).as_posix())
        file.chmod(0o644)
        file.write_bytes(whole)
    assert unseen == []
    assert len(cases) >= (len(SKILFUL) if damage is None else 33)


@pytest.mark.parametrize("use", [Review, lambda run: suppose(str(run.path), Params())], ids=["review", "whatif"])
def test_nobody_decides_or_supposes_anything_from_a_round_that_was_damaged(
    use: Callable[[RunDirectory], object], in_workspace: Path, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "runs" / in_workspace.name)
    shutil.copytree(in_workspace, run.path)
    use(run)
    rounds = [file for step in ("score", "decide") for file in run.path.glob(f"iterations/*/{step}/*")]
    assert len(rounds) > 8
    for file in [*rounds, run.path / "manifest.parquet", run.path / "run.json"]:
        whole = file.read_bytes()
        for harm in (_middle, _half):
            harm(file)
            with pytest.raises(InputError, match=str(file)):
                use(run)
            file.write_bytes(whole)


@pytest.mark.parametrize("name", ["run.json", "summary.json", "iterations.parquet"])
def test_the_list_of_runs_shows_no_figure_that_was_changed(name: str, in_workspace: Path, tmp_path: Path) -> None:
    run = tmp_path / in_workspace.name
    shutil.copytree(in_workspace, run)
    (whole,) = overview(tmp_path)
    assert whole.end and whole.problem is None
    edit = {"run.json": _edited, "summary.json": _larger, "iterations.parquet": _auroc}[name]
    edit(run / name)
    (line,) = overview(tmp_path)
    assert line.end is None and line.problem and f"{run / name}: was changed" in line.problem


def _auroc(path: Path) -> None:
    table = pd.read_parquet(path)
    table["auroc"] = 0.999
    table.to_parquet(path)


def test_a_prepared_set_that_was_changed_begins_no_run(
    plant: Path, tiny: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepared = tmp_path / "prepared"
    params = tiny.model_copy(update={"review": tiny.review.model_copy(update={"decisions": None})})
    with prefect_session(orchestrate=False):
        prepare_dataset(str(plant), params.model_dump(mode="json"), str(prepared))
    tables = sorted(prepared.glob("*.parquet"))
    assert {"manifest.parquet", "near_copies.parquet", "health.parquet"} < {table.name for table in tables}
    for table in tables:
        whole = table.read_bytes()
        for harm in (_middle, _half, Path.unlink, _row_less):
            harm(table)
            if table.is_file() and table.read_bytes() == whole:  # no row to take
                continue
            with pytest.raises(InputError, match=f"{table}: .* since the set was prepared"):
                create_run(plant, params, prepared, RunInputs())
            table.write_bytes(whole)
    assert not (tmp_path / "runs").exists()
    create_run(plant, params, prepared, RunInputs())
    (prepared / "prepared.json").unlink()  # of an older version, or changed on purpose
    _row_less(prepared / "manifest.parquet")
    create_run(plant, params, prepared, RunInputs())


def _skilful(run: RunDirectory, file: Path) -> Callable[[Path], object] | None:
    if file.suffix == ".arrow":
        return _reordered
    return SKILFUL.get(file.relative_to(run.path).as_posix()) if file.is_relative_to(run.path) else None
