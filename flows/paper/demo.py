"""Make the demo plant, so that `dvc repro` works with no data at hand."""

from __future__ import annotations

from flows.paper.places import DEMO, raw
from irp_core.config import Params
from irp_core.demo.plant import write_demo_plant
from irp_core.errors import InputError
from tasks.runtime.progress import bar

__all__ = ["make_demo"]


def make_demo(params: Params) -> None:
    """Write the plant with `sweep.demo_size` pixels a side."""
    try:
        with bar("Making the demo plant") as advance:
            write_demo_plant(raw(DEMO), size=params.sweep.demo_size, progress=advance)
    except FileExistsError as error:
        raise InputError(f"{error}") from None
