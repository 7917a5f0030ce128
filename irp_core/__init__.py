"""The algorithm: tables and tensors in, tables and tensors out.

Nothing here knows Prefect, MLflow, DVC or the network; `tasks` and `flows` do. From Python:

    from irp_core import refine, load
    result = refine("path/to/images")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from irp_core.api import Model, Result, load, refine

__all__ = ["Model", "Result", "__version__", "load", "refine"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The names of `irp_core.api`, imported when they are asked for: it brings torch along."""
    if name in ("Model", "Result", "load", "refine"):
        from irp_core import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
