"""deploy/: images and secrets are pinned and asked for; commands and units say what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
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


def test_the_image_has_every_file_that_the_packages_have(tmp_path: Path) -> None:
    """A template that pyproject.toml does not name, or a link to a file that is not copied, is missing there alone."""
    for line in re.findall(r"^COPY (.+) \S+$", (COMPOSE.parent / "Dockerfile").read_text(), re.MULTILINE):
        for name in line.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=lambda *_: {"__pycache__"})
            else:
                shutil.copy2(ROOT / name, tmp_path / name)
    patterns = tomllib.loads((tmp_path / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    installed = {
        file.relative_to(tmp_path)
        for name, globs in patterns.items()
        for glob in globs
        for file in (tmp_path / name.replace(".", "/")).glob(glob)
        if file.is_file()
    }
    there = {
        file.relative_to(ROOT)
        for package in ("irp_core", "tasks", "flows")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    assert there
    assert there == installed


def test_whatever_compose_names_exists() -> None:
    """Services, volumes, files and configurations by their names; commands, and the variables that Prefect, MLflow and
    this project read. `test_deploying` starts the services where PostgreSQL is installed."""
    import mlflow.environment_variables
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names

    content = yaml.safe_load(interpolated(COMPOSE.read_text(), SECRETS))
    services = content["services"]
    ours = "".join(file.read_text() for file in (ROOT / "tasks").rglob("*.py"))
    prefect_reads = _get_valid_setting_names(Settings)
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in content["volumes"] or Path(source).is_absolute() or (COMPOSE.parent / source).is_file()
        assert {config["source"] for config in service.get("configs", [])} <= set(content["configs"])
        for variable in service.get("environment", {}):
            reader = variable.partition("_")[0]
            known = {
                "PREFECT": variable in prefect_reads,
                "MLFLOW": hasattr(mlflow.environment_variables, variable),
                "IRP": f'"{variable}"' in ours,
                "POSTGRES": variable in ("POSTGRES_USER", "POSTGRES_PASSWORD"),  # of the image's documentation
            }
            assert known[reader], variable
        if name != "postgres":
            assert metadata.entry_points(group="console_scripts", name=service["command"][0])
    build = services["worker"]["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file()


def test_the_installed_commands_take_compose_s_arguments() -> None:
    from mlflow.cli import cli as of_mlflow
    from prefect.cli._app import _app as of_prefect

    services = yaml.safe_load(interpolated(COMPOSE.read_text(), SECRETS))["services"]
    commands = {name: service["command"] for name, service in services.items() if "command" in service}
    assert set(commands) == {"prefect", "mlflow", "worker"}
    for name in ("prefect", "worker"):
        taken = of_prefect.parse_args(commands[name][1:], exit_on_error=False, print_error=False)[1].arguments
        assert {str(value) for value in taken.values()} <= set(commands[name])
    with pytest.raises(Exception, match="Unknown option"):
        of_prefect.parse_args([*commands["worker"][1:], "--pol", "irp"], exit_on_error=False, print_error=False)
    _, server, *arguments = commands["mlflow"]
    context = of_mlflow.commands[server].make_context(server, arguments)
    assert not context.args and context.params["app_name"] == "basic-auth"


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
