"""DifferNet's normalizing flow (Rudolph, Wandt, Rosenhahn, WACV 2021): blocks of permutation and GLOW coupling.

Our own and not FrEIA's: FrEIA's GLOW clamp differs from DifferNet's, and it reseeds numpy's global generator.

Example:
    >>> import torch
    >>> flow = NormalizingFlow(6, blocks=2, hidden=8, clamp=3.0, generator=torch.Generator().manual_seed(0))
    >>> y = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    >>> z, log_det = flow(y)
    >>> bool(torch.allclose(flow.inverse(z), y, atol=1e-5))
    True
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irp_core.config import DifferNetParams

__all__ = [
    "IN_MEMORY",
    "Coupling",
    "NormalizingFlow",
    "StandardizedFlow",
    "Subnet",
    "low_precision",
    "negative_log_likelihood",
]

IN_MEMORY = 2**30
"""Bytes of training views that are held, beside their copy in double precision."""
_VIEWS = 65536  # that are read at once, of more


class Subnet(nn.Module):
    """inputs → hidden → hidden → hidden → outputs, ReLU between, no dropout."""

    def __init__(self, inputs: int, outputs: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = (inputs, hidden, hidden, hidden, outputs)
        self.linears = nn.ModuleList(_linear(a, b, generator) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for linear in list(self.linears)[:-1]:
            x = F.relu(linear(x))
        out: Tensor = self.linears[-1](x)
        return out


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """torch's default initialisation, U(-1/√inputs, 1/√inputs), but from a generator that is passed in."""
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = 1.0 / math.sqrt(inputs)
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
    nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
    return linear


class Coupling(nn.Module):
    """GLOW coupling with two subnets.

    With y = (y1, y2): z1 = y1·exp(s₂(y2)) + t₂(y2), then z2 = y2·exp(s₁(z1)) + t₁(z1). The raw log-scale r is
    softly clamped, s = α·0.636·atan(r/α) with α = `clamp`, so |s| < α.
    """

    def __init__(self, dimensions: int, hidden: int, clamp: float, generator: torch.Generator) -> None:
        super().__init__()
        self.first, self.second = dimensions // 2, dimensions - dimensions // 2
        self.clamp = clamp
        self.subnet1 = Subnet(self.first, 2 * self.second, hidden, generator)
        self.subnet2 = Subnet(self.second, 2 * self.first, hidden, generator)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y (..., dimensions) → z of the same shape, log|det ∂z/∂y| (...,)."""
        y1, y2 = y.split((self.first, self.second), dim=-1)
        s2, t2 = self._scale_and_shift(self.subnet2, y2)
        z1 = y1 * s2.exp() + t2
        s1, t1 = self._scale_and_shift(self.subnet1, z1)
        z2 = y2 * s1.exp() + t1
        return torch.cat((z1, z2), dim=-1), s1.sum(dim=-1) + s2.sum(dim=-1)

    def inverse(self, z: Tensor) -> Tensor:
        """The y for which `forward` gives z."""
        z1, z2 = z.split((self.first, self.second), dim=-1)
        s1, t1 = self._scale_and_shift(self.subnet1, z1)
        y2 = (z2 - t1) * (-s1).exp()
        s2, t2 = self._scale_and_shift(self.subnet2, y2)
        y1 = (z1 - t2) * (-s2).exp()
        return torch.cat((y1, y2), dim=-1)

    def _scale_and_shift(self, subnet: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        # A subnet may multiply in bfloat16 (`Training.precision`); what is made of its numbers does not.
        raw, shift = subnet(x).to(x.dtype).chunk(2, dim=-1)
        # 0.636 ≈ 2/π, as in DifferNet: atan reaches ±π/2.
        return self.clamp * 0.636 * torch.atan(raw / self.clamp), shift


class NormalizingFlow(nn.Module):
    """`blocks` times {fixed random permutation, coupling}; the permutations are buffers, saved with the weights."""

    permutations: Tensor

    def __init__(self, dimensions: int, *, blocks: int, hidden: int, clamp: float, generator: torch.Generator) -> None:
        super().__init__()
        orders = [torch.randperm(dimensions, generator=generator) for _ in range(blocks)]
        self.register_buffer("permutations", torch.stack(orders))
        self.couplings = nn.ModuleList(Coupling(dimensions, hidden, clamp, generator) for _ in range(blocks))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y (..., dimensions) → z of the same shape, log|det ∂z/∂y| (...,)."""
        log_det = y.new_zeros(y.shape[:-1])
        for order, coupling in zip(self.permutations, self.couplings, strict=True):
            y, log_det_of_block = coupling(_permuted(y, order))
            log_det = log_det + log_det_of_block
        return y, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """The y for which `forward` gives z."""
        for order, coupling in zip(reversed(self.permutations), reversed(self.couplings), strict=True):
            assert isinstance(coupling, Coupling)
            z = _permuted(coupling.inverse(z), order.argsort())
        return z


class StandardizedFlow(nn.Module):
    """The flow behind a fixed affine map (features - mean) / std; the map is a buffer of the model.

    Its constant log-determinant is left out of the loss: it moves no gradient.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dimensions: int, params: DifferNetParams, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimensions))
        self.register_buffer("std", torch.ones(dimensions))
        self.flow = NormalizingFlow(
            dimensions, blocks=params.blocks, hidden=params.hidden, clamp=params.clamp, generator=generator
        )

    def standardize(self, samples: Tensor) -> None:
        """Take mean and standard deviation (n, dimensions) → (dimensions,) from the training features."""
        if samples.nbytes <= IN_MEMORY:
            exact = samples.double()
            mean, std = exact.mean(dim=0), exact.std(dim=0, correction=0)
        else:  # in parts, which are exact in another last digit
            parts = samples.split(_VIEWS)
            mean = sum(part.double().sum(dim=0) for part in parts) / len(samples)
            std = (sum((part.double() - mean).square().sum(dim=0) for part in parts) / len(samples)).sqrt()
        self.mean.copy_(mean)
        # A channel that never fires has no spread; dividing by the floor keeps it at zero.
        self.std.copy_(std.clamp_min(1e-6))

    def standardize_each(self, sets: Iterable[Tensor]) -> None:
        """As `standardize`, of K flows side by side each by its own training features: (K, 1, dimensions)."""
        measured = []
        for samples in sets:
            self.standardize(samples)
            measured.append((self.mean.clone(), self.std.clone()))
            del samples  # before the next ones are made
        self.mean, self.std = (torch.stack(values)[:, None] for values in zip(*measured, strict=True))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.flow((features - self.mean) / self.std)
        return z, log_det


def _permuted(y: Tensor, order: Tensor) -> Tensor:
    """y[..., order]; as a gather, whose backward pass is several times quicker than that of an index, and as exact."""
    return y.gather(-1, order.expand(y.shape))


def negative_log_likelihood(z: Tensor, log_det: Tensor, weights: Tensor | None = None) -> Tensor:
    """DifferNet's loss: mean over samples of (½‖z‖² - log|det J|) / dimensions (without the constant).

    With `weights` (K, n), for K flows side by side: the weighted sum over each flow's n samples instead (K,).
    """
    of_samples = 0.5 * z.square().sum(dim=-1) - log_det
    reduced = of_samples.mean() if weights is None else (weights * of_samples).sum(dim=-1)
    return reduced / z.shape[-1]


def low_precision(device: torch.device, products: torch.dtype) -> torch.autocast:
    """Multiply the subnets' matrices in `products`, forwards and backwards; float32 changes nothing.

    The weights, their gradients, the optimiser and all of the coupling outside its subnets stay float32.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=products == torch.bfloat16)
