"""Every command works in its project, wherever it is typed: found upwards from there, as git and DVC do it.

Relative paths that are typed mean what they mean where they are typed; what parameters name (`runs`, `mlflow.db`, the
feature store) is relative to the project. A run that is named by its folder is worked on in its own project.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from typer.core import TyperGroup

from irp_core.errors import InputError
from irp_core.run.files import RECORD

__all__ = ["InProject", "place_from_project", "project_of"]

_ANYWHERE = ("init", "demo")  # they make a project, where they are typed


class InProject(TyperGroup):
    """A group whose commands are carried out in the project's directory."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if cmd_name in _ANYWHERE:
            return command
        if command is not None and not isinstance(command, TyperGroup) and not hasattr(command, "in_project"):
            vars(command).update(in_project=True, invoke=_in_project(command.invoke))
        return command


def project_of(start: Path) -> Path:
    """The project that a directory lies in: the nearest one, upwards, that holds runs or DVC's folder; else itself.

    A directory of somebody else's, or one that everybody can write to, is nobody's project: whoever put it there would
    choose the parameters.
    """
    for place in (start, *start.parents):
        if ((place / ".dvc").is_dir() or ((place / ".irp").is_dir() and (place / "runs").is_dir())) and _is_own(place):
            return place
    return start


def place_from_project(value: str | None) -> str | None:
    """A place that is written into the project: a folder as it is meant where it is typed, seen from the project, so
    that it moves along with it; an address, or a name that is no folder here, stays as it is.
    """
    here = Path.cwd()
    project = project_of(here)
    if value is None or "://" in value or project == here or not (here / Path(value).expanduser()).is_dir():
        return value
    place = (here / Path(value).expanduser()).resolve()
    return str(place.relative_to(project)) if place.is_relative_to(project) else str(place)


def _is_own(place: Path) -> bool:
    try:
        state = place.stat()
    except OSError:
        return False
    return state.st_uid == os.geteuid() and not state.st_mode & stat.S_IWOTH


def _in_project(invoke: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def carried_out(ctx: Any) -> Any:
        here = Path.cwd()
        project = _named(ctx.params) or project_of(here)
        if project == here:
            return invoke(ctx)
        ctx.params = {name: _absolute(value) for name, value in ctx.params.items()}
        Console(stderr=True).print(f"In the project {project}", style="dim", highlight=False, soft_wrap=True)
        os.chdir(project)
        try:
            return invoke(ctx)
        finally:
            os.chdir(here)

    return carried_out


def _named(params: dict[str, Any]) -> Path | None:
    """The project of the run that a command names by its folder; None where it names none."""
    for value in params.values():
        if isinstance(value, (str, Path)) and str(value) and (folder := _plain(str(value)) / RECORD).is_file():
            from irp_core.run.directory import RunDirectory

            try:
                return RunDirectory(folder.parent).workspace()
            except InputError:  # an unreadable record: the command says so
                return None
    return None


def _plain(reference: str) -> Path:
    return Path(re.sub(r"(?<=[^/]):\d+$", "", reference))


def _absolute(value: Any) -> Any:
    """A path as it is meant where it was typed; other words stay as they are."""
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, str) and os.sep in value and _plain(value).exists():
        return str(Path(value).absolute())
    if isinstance(value, str) and value and (_plain(value).is_file() or (_plain(value) / RECORD).is_file()):
        return str(Path(value).absolute())
    return value
