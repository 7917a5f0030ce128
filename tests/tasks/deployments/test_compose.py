"""deploy/: images and secrets are pinned and asked for; commands and units say what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core import __version__
from tests.tasks.deployments.compose import COMPOSE, SECRETS, compose_file, interpolated

ROOT = COMPOSE.parents[1]


def test_images_are_pinned_to_a_version() -> None:
    images = {name: service["image"] for name, service in compose_file()["services"].items()}
    built = re.findall(r"^FROM (\S+)", (COMPOSE.parent / "Dockerfile").read_text(), re.MULTILINE)
    for image in [*images.values(), *built]:
        assert re.fullmatch(r"[\w/-]+:\d+\.\d+(\.\d+)?(-\w+)*", image), image
    assert images["worker"] == f"irp-platform:{__version__}"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", (COMPOSE.parent / "Dockerfile").read_text())
    assert set(extras.split(",")) <= set(wanted)


@pytest.mark.parametrize("missing", SECRETS)
def test_no_secret_has_a_default(missing: str) -> None:
    values = {name: value for name, value in SECRETS.items() if name != missing}
    interpolated(COMPOSE.read_text(), SECRETS)
    with pytest.raises(KeyError, match=missing):
        interpolated(COMPOSE.read_text(), values)


def test_the_example_names_every_variable() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    named = set(re.findall(r"^#?(IRP_\w+)=", (COMPOSE.parent / "env.example").read_text(), re.MULTILINE))
    assert named == used


def test_what_the_image_copies_exists() -> None:
    ignored = Path(ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+) \S+$", (COMPOSE.parent / "Dockerfile").read_text(), re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in ignored


def test_the_unit_s_command_exists() -> None:
    (unit,) = COMPOSE.parent.glob("*.service")
    lines = unit.read_text().splitlines()
    (command,) = [line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")]
    program, *arguments = command.split()
    assert (Path(program).name, arguments.pop()) == ("irp", "%i")
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    (unit,) = COMPOSE.parent.glob("*.service")
    here = tmp_path / unit.name
    here.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text()))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
