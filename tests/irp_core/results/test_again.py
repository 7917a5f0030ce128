"""The command after a review asks for the run that was reviewed: same folder, same settings, as it is typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from irp_core.params_file import load_params
from irp_core.results.again import again
from irp_core.run.directory import RunDirectory

SETTINGS = [
    "refinement.lambda=1.4",
    "refinement.expected=[0.01, 0.1]",
    "dataset.good_names=[io, 'in Ordnung']",
    "run.seed=3",
]


@pytest.mark.parametrize("file", [None, "refinement: {lambda: 1.4}\nrun: {seed: 5}\nimages: {size: 320}\n"])
def test_the_command_has_all_settings_that_the_workspace_does_not(file: str | None, tmp_path: Path) -> None:
    if file is not None:
        (tmp_path / "params.yaml").write_text(file)
    run = RunDirectory(tmp_path / "runs" / "plate-careful-0123abcd")
    params = load_params(None, SETTINGS)
    run.write_record(
        {
            "run_id": run.run_id,
            "data_root": str(tmp_path.resolve() / "my images"),
            "params": params.model_dump(mode="json"),
            "decisions": "said before.csv",
        }
    )
    command, subcommand, folder, option, decisions, *rest = shlex.split(again(run))
    assert (command, subcommand, folder) == ("irp", "refine", "my images")
    assert (option, decisions) == ("--decisions", "said before.csv")
    assert set(rest[::2]) == {"-S"}
    assert load_params(tmp_path / "params.yaml" if file else None, rest[1::2]) == params
    assert ("refinement.lambda=1.4" in rest) == (file is None)


def test_a_data_set_elsewhere_is_named_whole(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "work" / "runs" / "plate-careful-0123abcd")
    root = tmp_path / "images"
    run.write_record({"run_id": run.run_id, "data_root": str(root), "params": load_params().model_dump(mode="json")})
    assert again(run) == f"irp refine {root}"
