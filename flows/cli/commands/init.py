"""`irp init`: the folder of a project, in which everything that runs leave lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import Quiet

__all__ = ["init"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The project's folder; made if need be.")] = Path(),
    no_dvc: Annotated[bool, typer.Option("--no-dvc", help="No git and DVC repository: no versions are kept.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make a project: a git and DVC repository, .gitignore and params.yaml. What is there already stays as it is."""
    from tasks.versions.project import make_project

    console = Console(highlight=False, soft_wrap=True, quiet=quiet)
    for name, what in make_project(folder, versions=not no_dvc).items():
        console.print(f"{folder / name}: {what}")
    console.print("Runs, models, the feature store, versions and MLflow's records lie in this folder, nowhere else.")
    here = "" if folder == Path() else f"cd {folder}; "
    console.print(f"[bold]Next[/bold]  {here}irp refine PATH_TO_IMAGES")
