"""`irp score`: new images against a refined detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.cli.options import (
    AllowDetectors,
    As,
    Format,
    Overrides,
    ParamsFile,
    Quiet,
    RunOrModel,
    read_params,
    reference_of,
)
from irp_core.errors import InputError

__all__ = ["score"]


def score(
    model: RunOrModel,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An image or a folder of images.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here (.csv or .parquet), not to stdout.")
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write where the model sees something: an overlay and a map per image."),
    ] = None,
    params: ParamsFile = None,
    set_param: Overrides = None,
    allow_detector: AllowDetectors = None,
    as_: As = Format.csv,
    quiet: Quiet = False,
) -> None:
    """Score new images with a refined detector: one row per image, its decision against the threshold."""
    if output is not None and output.suffix not in (".csv", ".parquet"):
        raise InputError(f"--output must end in .csv or .parquet. Got {output.name!r}.")
    if maps is not None and (maps.exists() and not maps.is_dir()):
        raise InputError(f"--maps must name a folder. {maps} is a file.")
    if maps is not None and path.is_dir() and maps.resolve().is_relative_to(path.resolve()):
        raise InputError(f"--maps must lie outside {path}, whose images are scored. Got {maps}.")
    from tasks.scoring import score_images

    checked = read_params(params, set_param)
    table = score_images(reference_of(model, checked), path, checked, allow=allow_detector or (), maps=maps)
    _write_scores(table, output, as_)
    errors = table[table["error"].notna()]
    anomalous = int((table["decision"] == "anomalous").sum())
    notes = Console(stderr=True, quiet=quiet)
    for row in errors.to_dict("records"):
        notes.print(f"Unreadable: {row['path']} ({row['error']})", style="yellow", highlight=False, soft_wrap=True)
    if maps is not None:
        notes.print(f"Maps written to {maps}; maps.csv names what exceeds their threshold.", highlight=False)
    notes.print(
        f"{len(table)} images: {anomalous} anomalous, {len(table) - anomalous - len(errors)} normal, "
        f"{len(errors)} unreadable" + (f"; written to {output}" if output else ""),
        highlight=False,
    )


def _write_scores(table: Any, output: Path | None, as_: Format) -> None:
    from irp_core.atomic import atomic_path
    from irp_core.text.spreadsheet import escaped

    if output is None:
        if as_ is Format.table:
            from flows.terminal.audit import write_answer

            write_answer({}, table.drop(columns="md5"), as_.value, "Scores", "scores")
        else:
            from flows.terminal.answer import write_rows

            write_rows(table, as_.value, "scores")
        return
    with atomic_path(output) as temporary:
        if output.suffix == ".csv":
            escaped(table).to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)
