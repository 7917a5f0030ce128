"""Weight files: read without unpickling code, verified where the hash is known."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from irp_core.errors import InputError

__all__ = ["fill", "freeze", "read_state"]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict: safetensors, or torch's own format restricted to tensors (`weights_only`).

    Raises:
        InputError: the file is absent or neither.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"bias": torch.zeros(2)}, Path(folder) / "w.safetensors")
        ...     read_state(Path(folder) / "w.safetensors")
        {'bias': tensor([0., 0.])}
    """
    if not path.is_file():
        raise InputError(f"{path}: weights not found; features.weights must name a file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except Exception as error:
        raise InputError(f"{path}: is not a weights file of safetensors or torch ({type(error).__name__}).") from None


def fill(network: nn.Module, state: dict[str, Tensor], path: Path, layout: str) -> None:
    """Copy `state` into `network`; every parameter of the network must be there with its shape."""
    for name, parameter in network.state_dict().items():
        if name not in state:
            raise InputError(f"{path}: expected {layout} with a tensor {name!r}, found none of that name.")
        if state[name].shape != parameter.shape:
            raise InputError(
                f"{path}: expected {name!r} of shape {tuple(parameter.shape)}, found {tuple(state[name].shape)}."
            )
    network.load_state_dict({name: state[name].float() for name in network.state_dict()})


def freeze(network: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients."""
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network
