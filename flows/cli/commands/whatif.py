"""`irp whatif`: other thresholds on stored scores, without training anything."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli.options import As, Format, Overrides, ParamsFile, Quiet, RunOrModel, read_params, reference_of
from irp_core.errors import InputError
from irp_core.rules import RULES

__all__ = ["whatif"]

if TYPE_CHECKING:
    RuleName = str
else:
    RuleName = StrEnum("RuleName", list(RULES))


def whatif(
    run: RunOrModel,
    rule: Annotated[RuleName | None, typer.Option(help="Another rule; default: the run's.")] = None,
    lambda_: Annotated[float | None, typer.Option("--lambda", help="λ of median_multiple, above 1.")] = None,
    k: Annotated[float | None, typer.Option("--k", help="k of iqr or mad, above 0.")] = None,
    fdr: Annotated[float | None, typer.Option("--fdr", help="Share of good images that mixture allows.")] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Of the lower bound that mixture heeds, from 0 to below 1.")
    ] = None,
    expected: Annotated[
        str | None,
        typer.Option(metavar="SHARE|LOW,HIGH", help="Share of defective images that you expect (careful, answered)."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Where the figure goes (.png, .svg, .pdf); default: whatif-RUN.png.")
    ] = None,
    as_: As = Format.table,
    params: ParamsFile = None,
    set_param: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Decide again on a run's stored scores, with other settings: what would have been removed. Nothing is trained."""
    if figure is not None and figure.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--figure must end in .png, .svg or .pdf. Got {figure.name!r}.")
    from flows.terminal.audit import write_supposition
    from tasks.audit.levers import Levers
    from tasks.audit.whatif import save_figure, suppose

    checked = read_params(params, set_param)
    levers = Levers(rule and str(rule), lambda_, k, fdr, confidence, None if expected is None else _range(expected))
    answer = suppose(reference_of(run, checked), checked, levers)
    path = figure or Path(f"whatif-{answer.facts['run']}.png")
    save_figure(answer.figure, path)  # first: whoever pipes the tables into `head` ends this process early
    write_supposition(answer.facts, answer.iterations, answer.images, as_.value)
    Console(stderr=True, quiet=quiet).print(f"Figure: {path}", highlight=False, soft_wrap=True)


def _range(text: str) -> tuple[float, float]:
    try:
        low, *high = (float(part) for part in text.split(","))
        (last,) = high or (low,)
    except ValueError:
        raise InputError(f"--expected must be a share, or LOW,HIGH. Got {text!r}.") from None
    return low, last
