"""Tensors and settings on disk: safetensors plus JSON, nothing pickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from irp_core.atomic import read_json_object, write_json
from irp_core.errors import InputError
from irp_core.model_files import DETECTOR, WEIGHTS

__all__ = ["read_saved", "write_saved"]


def write_saved(directory: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write `weights.safetensors` and `detector.json` into an existing directory.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_saved(Path(folder), {"mean": torch.zeros(2)}, {"detector": "gaussian"})
        ...     read_saved(Path(folder), ("mean",), torch.device("cpu"))
        ({'mean': tensor([0., 0.])}, {'detector': 'gaussian'})
    """
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
              directory / WEIGHTS)  # fmt: skip
    write_json(directory / DETECTOR, dict(description))


def read_saved(directory: Path, names: tuple[str, ...], device: torch.device) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_saved` wrote: (tensors, description).

    Raises:
        InputError: a file is missing or unreadable, or lacks one of the tensors `names`.
    """
    try:
        description = read_json_object(directory / DETECTOR)
        tensors = load_file(directory / WEIGHTS, device=str(device))
    except Exception as error:  # safetensors raises its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{directory}: is not a saved detector ({reason}).") from None
    if missing := sorted(set(names) - set(tensors)):
        raise InputError(f"{directory / WEIGHTS}: expected tensors {missing}, found {sorted(tensors)}.")
    return tensors, description
