"""`irp line golden`: defects that a person confirmed enter a line's golden set, by this command alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.names import default_name
from irp_core.errors import InputError

__all__ = ["golden"]


def golden(
    name: Annotated[str, typer.Argument(metavar="LINE", help="The line's name.")],
    why: Annotated[str, typer.Option(help="The reason, for the record.")],
    images: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="MD5", help="Only this one (its md5, or the beginning of it); repeatable."),
    ] = None,
    kind: Annotated[str, typer.Option(help="Sub-folder of the golden set that the defects go into.")] = "defective",
    good: Annotated[bool, typer.Option("--good", help="Those that were called good, too.")] = False,
    kept: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What `irp serve --keep` fills; default: lines/LINE/kept.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who takes them in; default: git's user.name, else the login.")] = None,
) -> None:
    """Take kept images that a person called defective into the line's golden set. Nothing else ever does."""
    from irp_core.line.definition import line_params, load_line
    from irp_core.line.folder import LineFolder
    from tasks.feedback import feedback_of
    from tasks.feedback.golden import take_into_golden

    line = load_line(name, Path())
    if line.golden is None:
        raise InputError(f"{name} has no golden set: name a folder in params/lines/{name}.yaml (golden).")
    params, folder = line_params(line, Path()), LineFolder(name).make()
    from flows.line.working import alone

    console = Console()
    # A round compares two versions on one golden set: none enters while it does.
    with alone(line, lambda said: console.print(f"{said[0].upper()}{said[1:]}.", highlight=False, soft_wrap=True)):
        taken = take_into_golden(
            feedback_of(kept or folder.kept, params),
            Path(line.golden),
            folder.golden_record,
            by=by or default_name(),
            why=why,
            chosen=images or (),
            kind=kind,
            good=good,
            good_names=params.dataset.good_names,
        )
    for file in taken.files:
        console.print(str(file), highlight=False, markup=False, soft_wrap=True)
    has = f", which had {len(taken.there)} of them already" if taken.there else ""
    console.print(f"{len(taken.files)} images are new in {line.golden}{has}.", highlight=False, soft_wrap=True)
    if taken.files:
        console.print(f"On record in {folder.golden_record}.", highlight=False, soft_wrap=True)
