"""`irp monitor`: whether new images still look like those that a detector was commissioned on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import AllowDetectors, Overrides, ParamsFile, RunOrModel, read_params, reference_of
from irp_core.errors import InputError

__all__ = ["monitor"]


def monitor(
    model: RunOrModel,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder of new images, in the order of their names.")],
    reference: Annotated[
        Path, typer.Option(help="Folder of images that came just after the detector was put into service; 100 or more.")
    ],
    window: Annotated[int, typer.Option(min=100, help="Images per window.")] = 100,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the windows here (.csv).")] = None,
    line: Annotated[str | None, typer.Option(help="Tell this line's webhook, and Prefect, of an alarm.")] = None,
    params: ParamsFile = None,
    set_param: Overrides = None,
    allow_detector: AllowDetectors = None,
) -> None:
    """Compare new images with a commissioning window: do the scores drift, and what changed in the images?"""
    if output is not None and output.suffix != ".csv":
        raise InputError(f"--output must end in .csv. Got {output.name!r}.")
    checked = read_params(params, set_param)
    told = None
    if line is not None:
        from irp_core.line.definition import load_line

        told = load_line(line, Path.cwd())  # a mistake is said before anything is scored
    from tasks.monitoring import watch

    table = watch(reference_of(model, checked), reference, new, checked, window=window, allow=allow_detector or ())
    if output is not None:
        from irp_core.atomic import atomic_path

        with atomic_path(output) as temporary:
            table.to_csv(temporary, index=False)
    console = Console()
    console.print(_shown(table))
    alarms = table[table["alarm"]]
    if not len(table):
        console.print(f"Fewer than {window} new images can be scored: too few to tell.", highlight=False)
    elif not len(alarms):
        console.print("No drift.", highlight=False)
    else:
        first = alarms.iloc[0]
        said = f"Since {first['first']}: {first['reason']}."
        changed = f" The images: {first['changed']}." if first["changed"] else " The images' figures have not changed."
        console.print(f"{len(alarms)} of {len(table)} windows alarm. {said}{changed}", highlight=False, soft_wrap=True)
        if told is not None:
            from tasks.notify import tell

            reason = f"{first['reason'].capitalize()}; {first['changed'] or 'the images themselves look as before'}."
            for problem in tell(told, "drift", {"reason": reason, "model": model, "since": first["first"]}):
                Console(stderr=True).print(problem, style="yellow", highlight=False, soft_wrap=True)


def _shown(table: Any) -> Table:
    shown = Table("window", "first image", "KS", "p", "alarms", "p", "PSI", "Wasserstein", "", "the images")
    for row in table.to_dict("records"):
        shown.add_row(
            str(row["window"]), row["first"], f"{row['ks']:.2f}", f"{row['ks_p']:.1g}", f"{row['alarm_share']:.0%}",
            f"{row['share_p']:.1g}", f"{row['psi']:.2f}", f"{row['wasserstein']:.3g}",
            "[bold red]alarm" if row["alarm"] else "", row["changed"],
        )  # fmt: skip
    return shown
