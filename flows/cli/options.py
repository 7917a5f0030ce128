"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from irp_core.config import Params

__all__ = ["AllowDetectors", "DataPath", "Format", "NoDvc", "Overrides", "ParamsFile", "read_params"]


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
NoDvc = Annotated[bool, typer.Option("--no-dvc", help="Make no DVC snapshots.")]


def read_params(file: Path | None, overrides: list[str] | None) -> Params:
    """The parameters of a command: its file, else `./params.yaml`, else the defaults, under its overrides."""
    from irp_core.params_file import load_params

    if file is None and Path("params.yaml").is_file():
        file = Path("params.yaml")
    return load_params(file, overrides or ())
