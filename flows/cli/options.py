"""Options that several commands share."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from irp_core.config import Params
    from irp_core.run.directory import RunDirectory

__all__ = [
    "AllowDetectors",
    "As",
    "DataPath",
    "Format",
    "NoDvc",
    "NoPrefect",
    "Overrides",
    "ParamsFile",
    "Quiet",
    "Run",
    "RunOrModel",
    "find_run",
    "read_params",
    "reference_of",
    "run_or_line_names",
]


AllowDetectors = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-detector",
        metavar="MODULE:CLASS",
        help="A detector of another package that a saved file may name; loading it runs its code.",
        envvar="IRP_ALLOW_DETECTORS",
    ),
]


class Format(StrEnum):
    """How an answer is written: for people, or whole and for programs."""

    table = "table"
    json = "json"
    csv = "csv"


DataPath = Annotated[
    Path, typer.Argument(metavar="PATH", help="Folder of images: any folder, MVTec AD category, KSDD2, MTD.")
]
ParamsFile = Annotated[
    Path | None, typer.Option("--params", "-p", help="Parameters; default: ./params.yaml, else the built-in defaults.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set-param", "-S", metavar="SECTION.KEY=VALUE", help="Override one parameter.")
]


def _run_ids(incomplete: str) -> list[str]:
    """Ids of the runs, for the shell's completion: by the names of their folders, nothing is read."""
    from irp_core.run.files import RECORD

    names = sorted(file.parent.name for file in Path("runs").glob(f"*/{RECORD}"))
    return [name for name in [*names, "last"] if name.startswith(incomplete)]


def run_or_line_names(incomplete: str) -> list[str]:
    """The same, and the names of lines."""
    from irp_core.line.definition import line_names

    return [*(name for name in line_names(Path()) if name.startswith(incomplete)), *_run_ids(incomplete)]


Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run: its folder, its id or the beginning of it, or last.", autocompletion=_run_ids
    ),
]
RunOrModel = Annotated[
    str,
    typer.Argument(
        metavar="RUN|MODEL",
        help="A run (folder, id, beginning of an id, last), or a registered model: NAME[@alias|/version].",
        autocompletion=_run_ids,
    ),
]


def _be_quiet(quiet: bool) -> bool:
    from tasks.runtime.progress import be_quiet

    be_quiet(quiet)
    return quiet


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress and no summary: the result's place alone, for scripts.",
        envvar="IRP_QUIET",
        callback=_be_quiet,
    ),
]
As = Annotated[Format, typer.Option("--format", help="How the answer is written.")]
NoDvc = Annotated[bool, typer.Option("--no-dvc", help="Make no DVC snapshots.")]
NoPrefect = Annotated[
    bool,
    typer.Option("--no-prefect", help="No Prefect server: the same steps and tables, faster for small sets."),
]


def read_params(file: Path | None, overrides: list[str] | None) -> Params:
    """The parameters of a command: its file, else `./params.yaml`, else the defaults, under its overrides.

    A tracking store that the environment names (MLFLOW_TRACKING_URI) stands between the two, as everywhere with MLflow.
    """
    from irp_core.params_file import load_params
    from tasks.runtime.environment import TRACKING_URI

    if file is None and Path("params.yaml").is_file():
        file = Path("params.yaml")
    of_environment = [f"tracking.uri={json.dumps(TRACKING_URI)}"] if TRACKING_URI else []
    return load_params(file, [*of_environment, *(overrides or ())])


def find_run(reference: str) -> RunDirectory:
    """The run on this machine that a command's argument means.

    Raises:
        InputError: none or several.
    """
    from irp_core.run.directory import RunDirectory, is_run
    from irp_core.run.lookup import find_run_directory

    if reference and is_run(Path(reference)):  # whatever params.yaml says
        return RunDirectory(Path(reference))
    return find_run_directory(reference, Path(read_params(None, None).run.directory))


def reference_of(reference: str, params: Params) -> str:
    """What a command's argument means, in a form that every store knows: a run on this machine by its folder.

    Raises:
        InputError: it could be one of several runs.
    """
    from irp_core.run.lookup import find_local_run, split_iteration

    plain, iteration = split_iteration(reference)
    found = find_local_run(plain, Path(params.run.directory))
    if found is None:
        return reference
    return str(found.path) if iteration is None else f"{found.path}:{iteration}"
