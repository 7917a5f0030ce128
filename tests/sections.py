"""Overrides as the sections that `irp_core.refine` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from irp_core.params_file import load_params

__all__ = ["sections_of"]


def sections_of(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Only what is not a default: a store that nobody named is none that is kept."""
    chosen, default = (load_params(None, list(o)).model_dump(mode="json") for o in (overrides, ()))
    sections = {
        name: {key: value for key, value in section.items() if value != default[name][key]}
        for name, section in chosen.items()
    }
    return {name: section for name, section in sections.items() if section}
