"""K flows of one shape, one per fold, trained in one program: one forward, backward and optimiser step for all K.

Every linear layer is K layers side by side, a batched matrix product; all else in a flow works element by element and
takes one more axis as it is. What K flows one after another lose is the time to start K times as many operations:
little on a processor core, where products of matrices take most of an epoch (benchmarks/running/folds.py measures it).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from irp_core.detectors.normalizing_flow import low_precision, negative_log_likelihood

__all__ = ["StackedLinear", "copy_of_one", "stacked", "train_stacked"]

Module = TypeVar("Module", bound=nn.Module)


class StackedLinear(nn.Module):
    """K linear layers side by side, (K, n, inputs) → (K, n, outputs); they start as copies of one.

    `weight` is (K, inputs, outputs), the transpose of torch's: the batched product's gradient has that layout, and
    autograd copies what has another than its parameter.
    """

    def __init__(self, linear: nn.Linear, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().T.repeat(count, 1, 1))
        self.bias = nn.Parameter(linear.bias.detach().repeat(count, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


def stacked(model: Module, count: int) -> Module:
    """A copy of `model` that is `count` models side by side, all equal so far: every linear layer is stacked.

    Example:
        >>> three = stacked(nn.Sequential(nn.Linear(4, 2)), 3)
        >>> three(torch.zeros(3, 10, 4)).shape
        torch.Size([3, 10, 2])
    """
    copied = copy.deepcopy(model)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            parent, _, attribute = name.rpartition(".")
            setattr(copied.get_submodule(parent), attribute, StackedLinear(layer, count))
    return copied


@torch.no_grad()
def copy_of_one(many: nn.Module, index: int, into: nn.Module) -> None:
    """Copy the linear layers of model `index` of `many` = `stacked(into, ...)` into `into`."""
    for name, layer in many.named_modules():
        if isinstance(layer, StackedLinear):
            linear = into.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            linear.weight.copy_(layer.weight[index].T)
            linear.bias.copy_(layer.bias[index, 0])


def train_stacked(
    many: nn.Module,
    samples: Tensor,
    own: Sequence[Tensor],
    generators: Sequence[torch.Generator],
    *,
    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    batch_size: int,
    epochs: int,
    products: torch.dtype = torch.float32,
) -> Iterator[NDArray[np.float64]]:
    """Train K flows as each would train alone on its own samples; after each epoch, yield the K mean losses.

    In an epoch each flow sees each of its samples once, in batches of `batch_size` in an order of its own. Flows
    with fewer samples have a shorter last batch, or one batch less: the gap is filled with samples of weight zero, and
    a flow without a sample in a batch takes no step.

    Args:
        many: K flows side by side, (K, n, dimensions) → z (K, n, dimensions), log-determinant (K, n).
        samples: (N, dimensions).
        own: K index arrays into `samples`, none of them empty.
        generators: K, for the order of the batches.
        optimiser: makes one that treats each element of each parameter by itself, and skips a parameter without
            gradient, as Adam does.
        products: the type in which the layers' matrices are multiplied.
    """
    leaves = list(many.parameters())
    # The optimiser sees the K flows' parameters as separate ones (views into the stack): it then counts each flow's
    # steps by itself, for Adam's bias correction, and leaves out a flow that has no gradient.
    views = [[nn.Parameter(leaf.detach()[flow]) for leaf in leaves] for flow in range(len(own))]
    optimizer = optimiser(view for flow in views for view in flow)
    sizes = torch.tensor([len(samples_of_flow) for samples_of_flow in own])
    positions = torch.arange(int(sizes.max()))
    present = positions < sizes[:, None]
    for _ in range(epochs):
        orders = [
            torch.randperm(len(mine), generator=generator) for mine, generator in zip(own, generators, strict=True)
        ]
        # The filling is the flow's own last sample, which is in the batch that it fills: another might overflow, and
        # zero times infinity is no zero.
        index = torch.stack(
            [
                mine[order[positions.clamp(max=len(order) - 1)].to(mine.device)]
                for mine, order in zip(own, orders, strict=True)
            ]
        )
        totals = torch.zeros(len(own), dtype=torch.float64, device=samples.device)
        for batch, counted in zip(index.split(batch_size, dim=1), present.split(batch_size, dim=1), strict=True):
            counts = counted.sum(dim=1, keepdim=True)
            weights = (counted / counts.clamp(min=1)).to(samples.device)
            with low_precision(samples.device, products):
                z, log_det = many(samples[batch])
            losses = negative_log_likelihood(z, log_det, weights)
            for leaf in leaves:
                leaf.grad = None
            losses.sum().backward()
            for flow, taking_part in enumerate((counts[:, 0] > 0).tolist()):
                for view, leaf in zip(views[flow], leaves, strict=True):
                    view.grad = leaf.grad[flow] if taking_part and leaf.grad is not None else None
                if taking_part:
                    totals[flow] += losses[flow].detach() * counts[flow, 0].item()
            optimizer.step()
        mean_losses: NDArray[np.float64] = (totals.cpu() / sizes).numpy()
        yield mean_losses
