"""Start the student from the teacher: narrow each block by data-dependent selection and least squares.

Working from the stem upwards, the inner channels of each block are chosen greedily among the teacher's, and both
convolutions are refitted by ridge regression on activations of the training images. The inputs are the *student's*
own activations and the targets the teacher's, so that each block also corrects what earlier ones got wrong
(asymmetric reconstruction, Zhang et al. 2015; channel selection by reconstruction, He et al. 2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irp_core.backbones.bundled import BundledEncoder
from training.teacher import Teacher

__all__ = ["initialise_from_teacher"]


def _sample(maps: Tensor, at: tuple[Tensor, Tensor, Tensor], kernel: int, stride: int) -> Tensor:
    """Gather ``kernel x kernel`` patches around output positions ``at``: ``(n, C * kernel^2)``."""
    padded = F.pad(maps, (kernel // 2,) * 4)
    image, row, column = at[0], at[1] * stride, at[2] * stride
    cells = [padded[image, :, row + i, column + j] for i in range(kernel) for j in range(kernel)]
    return torch.stack(cells, -1).flatten(1)


def _positions(maps: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    images, _, height, width = maps.shape
    image, row, column = (torch.randint(n, (count,), generator=generator) for n in (images, height, width))
    return image, row, column


def _centred(inputs: Tensor, targets: Tensor, ridge: float = 1e-3) -> tuple[Tensor, Tensor, Tensor]:
    """Ridge-regularised Gram matrix of the centred inputs, cross moment, and the targets' standard deviation."""
    x, y = inputs - inputs.mean(0), targets - targets.mean(0)
    gram = x.T @ x / len(x)
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    return gram, x.T @ y / len(x), y.square().mean(0).sqrt().clamp_min(1e-4)


def _regress(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression: weight ``(outputs, inputs)`` and bias ``(outputs,)``."""
    gram, cross, _ = _centred(inputs, targets)
    weight = torch.linalg.solve(gram, cross).T
    return weight, targets.mean(0) - weight @ inputs.mean(0)


def _choose(inputs: Tensor, targets: Tensor, cells: int, count: int) -> Tensor:
    """Greedily choose ``count`` channels (groups of ``cells`` columns) whose regression explains the targets best.

    Orthogonal matching pursuit over groups, on moments only; targets are scaled to unit variance.
    """
    gram, cross, scale = _centred(inputs, targets)
    cross = cross / scale
    groups = torch.arange(gram.shape[0]).view(-1, cells)
    energy = gram.diagonal().view(-1, cells).sum(1).clamp_min(1e-4 * gram.diagonal().mean() * cells)
    chosen: list[int] = []
    residual = cross
    for _ in range(count):
        gain = residual.square().sum(1).view(-1, cells).sum(1) / energy
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        columns = groups[chosen].flatten()
        solution = torch.linalg.solve(gram[columns][:, columns], cross[columns])
        residual = cross - gram[:, columns] @ solution
    return torch.tensor(sorted(chosen))


def _assign(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    conv.weight.copy_(weight.view_as(conv.weight))
    assert conv.bias is not None
    conv.bias.copy_(bias)


def _balance(first: nn.Conv2d, second: nn.Conv2d) -> None:
    """Give each inner channel the same weight norm on both sides of its ReLU: same function, better conditioned."""
    into = first.weight.flatten(1).norm(dim=1).clamp_min(1e-6)
    out = second.weight.transpose(0, 1).flatten(1).norm(dim=1).clamp_min(1e-6)
    factor = (out / into).sqrt()
    assert first.bias is not None
    first.weight.mul_(factor.view(-1, 1, 1, 1))
    first.bias.mul_(factor)
    second.weight.div_(factor.view(1, -1, 1, 1))


@torch.no_grad()
def initialise_from_teacher(
    student: BundledEncoder, teacher: Teacher, images: Tensor, generator: torch.Generator, samples: int = 60000
) -> None:
    """Fit every convolution of ``student`` in place.

    Args:
        student: the network to initialise.
        teacher: where the targets come from.
        images: ``(N, 3, H, W)`` normalised training images, several hundred at about 128 px (with too few, the
            regressions overfit).
        generator: draws the positions of the regressions' samples.
        samples: positions per regression.
    """
    true = teacher.stem(images)
    at = _positions(true, samples, generator)
    pooled = _sample(true, at, 1, 1)
    keep = _choose(pooled, pooled, 1, student.stem.out_channels)
    assert teacher.conv1.bias is not None
    _assign(student.stem, teacher.conv1.weight[keep], teacher.conv1.bias[keep])
    _assign(student.widen, *_regress(pooled[:, keep], pooled))
    ours = F.max_pool2d(F.relu(student.stem(images)), 3, 2, 1)
    ours = F.relu(student.widen(ours))

    for block, reference in zip(student.blocks, teacher.blocks, strict=True):
        stride = block.conv1.stride[0]
        hidden, target = reference.inner(true), reference.outer(true)
        at = _positions(hidden, samples, generator)
        wanted = _sample(target, at, 1, 1)
        keep = _choose(_sample(F.relu(hidden), at, 3, 1), wanted - _skip(true, at, stride), 9, block.conv1.out_channels)
        _assign(block.conv1, *_regress(_sample(ours, at, 3, stride), _sample(hidden[:, keep], at, 1, 1)))

        inner = _sample(F.relu(block.conv1(ours)), at, 3, 1)
        if stride == 1:
            _assign(block.conv2, *_regress(inner, wanted - _skip(ours, at, 1)))
        else:  # the shortcut is a convolution too: fit both together
            skip = _sample(ours, at, 1, stride)
            weight, bias = _regress(torch.cat([inner, skip], 1), wanted)
            _assign(block.conv2, weight[:, : inner.shape[1]].contiguous(), bias)
            _assign(block.shortcut, weight[:, inner.shape[1] :].contiguous(), torch.zeros_like(bias))
        _balance(block.conv1, block.conv2)
        true, ours = F.relu(target), block(ours)


def _skip(maps: Tensor, at: tuple[Tensor, Tensor, Tensor], stride: int) -> Tensor:
    """What an identity shortcut adds at the positions; nothing where the shortcut is a convolution."""
    return _sample(maps, at, 1, 1) if stride == 1 else torch.zeros(())
