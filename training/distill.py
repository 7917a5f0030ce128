"""Distil the bundled encoder: ``python -m training.distill --weights TEACHER --out DIRECTORY --steps 4000``.

Runs on a CPU or a GPU unchanged. Everything needed to go on is in ``DIRECTORY/checkpoint.pt`` (written atomically);
``--resume`` continues from it and draws the same batches as an uninterrupted run, since each step has its own seed.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from irp_core.backbones.bundled import BundledEncoder
from training.augment import draw_batch
from training.images import HELD_OUT, PHOTOGRAPHS, render_pool
from training.initialise import initialise_from_teacher
from training.losses import DistillationLoss
from training.teacher import Teacher, load_teacher

Bytes = NDArray[np.uint8]
Write = Callable[[list[object]], object]

SIDES = (112, 144, 176)
CROPS = 4
HINTED = 0.6
"""Share of the steps over which the hints fade out."""


def _generator(seed: int, stream: int, step: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 10 + stream) * 10_000_019 + step)


def _fresh_student(seed: int) -> BundledEncoder:
    """An untrained student whose weights depend on ``seed`` only; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BundledEncoder()


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, then a half cosine to 1 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


@torch.no_grad()
def validate(
    student: BundledEncoder,
    batches: list[Tensor],
    targets: list[list[Tensor]],
    loss: DistillationLoss,
    groups: int,
) -> dict[str, float]:
    """Mean of every term over the held-out batches."""
    rows = [loss.terms(student.streams(x), t, groups) for x, t in zip(batches, targets, strict=True)]
    return {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}


def _save_atomically(state: object, path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def export(state: dict[str, Tensor], path: Path) -> None:
    """Write the weights as fp16 safetensors."""
    save_file({name: tensor.detach().half().cpu().contiguous() for name, tensor in state.items()}, path)


def distill(args: argparse.Namespace) -> None:
    """The whole run: pools, initialisation, training with averaged weights, validation, export."""
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    trained_on = tuple(name for name in PHOTOGRAPHS if name not in HELD_OUT)
    pool = render_pool(args.pools / "train.npy", args.pool, 320, args.seed, trained_on)
    held_out = render_pool(args.pools / "valid.npy", 300, 320, args.seed + 999, HELD_OUT)

    teacher = load_teacher(args.weights).to(device, memory_format=torch.channels_last)
    loss, batches, targets = _references(teacher, pool, held_out, args, device)
    student = _fresh_student(args.seed)
    checkpoint = out / "checkpoint.pt"
    resumed = (
        torch.load(checkpoint, map_location=device, weights_only=True) if args.resume and checkpoint.exists() else None
    )
    if resumed is None and not args.random_start:
        images = torch.cat([draw_batch(pool, 32, 2, 128, _generator(args.seed, 1, i)) for i in range(12)])
        initialise_from_teacher(student, load_teacher(args.weights), images, _generator(args.seed, 2))
    student = student.to(device, memory_format=torch.channels_last)
    averaged = {name: value.detach().clone() for name, value in student.state_dict().items()}
    optimiser = torch.optim.AdamW(student.parameters(), lr=args.lr, weight_decay=1e-4)
    start = 0
    if resumed is not None:
        student.load_state_dict(resumed["student"])
        optimiser.load_state_dict(resumed["optimiser"])
        averaged, start = resumed["averaged"], resumed["step"]

    shadow = _fresh_student(args.seed).to(device, memory_format=torch.channels_last)
    with (
        (out / "curve.csv").open("a", newline="") as stream,
        tqdm(range(start, args.steps), initial=start, total=args.steps, desc="distil") as bar,
    ):
        write = csv.writer(stream).writerow
        for step in bar:
            if step % args.every == 0 and (step > start or resumed is None):
                _report(shadow, averaged, batches, targets, loss, args.groups, step, write)
                stream.flush()
                state = {"student": student.state_dict(), "optimiser": optimiser.state_dict(), "averaged": averaged}
                _save_atomically(state | {"step": step}, checkpoint)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, args.steps, args.lr)
            draw = _generator(args.seed, 3, step)
            side = SIDES[int(torch.randint(len(SIDES), (), generator=draw))]
            images = draw_batch(pool, args.groups, CROPS, side, draw).to(device, memory_format=torch.channels_last)
            with torch.no_grad():
                wanted = teacher.streams(images)
            hint = max(0.0, 1 - step / (HINTED * args.steps))
            objective = loss.combine(loss.terms(student.streams(images), wanted, args.groups), hint)
            optimiser.zero_grad(set_to_none=True)
            objective.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            decay = min(args.average, (step + 1) / (step + 10))
            for name, value in student.state_dict().items():
                averaged[name].lerp_(value, 1 - decay)
            bar.set_postfix(loss=f"{objective.item():.3f}", refresh=False)
        _report(shadow, averaged, batches, targets, loss, args.groups, args.steps, write)
    state = {"student": student.state_dict(), "optimiser": optimiser.state_dict(), "averaged": averaged}
    _save_atomically(state | {"step": args.steps}, checkpoint)
    export(averaged, out / "bundled.safetensors")


def _references(
    teacher: Teacher, pool: Bytes, held_out: Bytes, args: argparse.Namespace, device: torch.device
) -> tuple[DistillationLoss, list[Tensor], list[list[Tensor]]]:
    """The loss with its moments from training crops, and the held-out batches with the teacher's maps of them."""
    with torch.no_grad():
        moments = []
        for i in range(args.moments):
            crops = draw_batch(pool, args.groups, CROPS, SIDES[i % 3], _generator(args.seed, 4, i))
            moments.append(teacher.streams(crops.to(device, memory_format=torch.channels_last)))
        loss = DistillationLoss(moments, args.groups)
        batches = []
        for i in range(12):
            crops = draw_batch(held_out, args.groups, CROPS, SIDES[i % 3], _generator(args.seed, 5, i), i * args.groups)
            batches.append(crops.to(device, memory_format=torch.channels_last))
        return loss, batches, [teacher.streams(crops) for crops in batches]


def _report(
    shadow: BundledEncoder,
    averaged: dict[str, Tensor],
    batches: list[Tensor],
    targets: list[list[Tensor]],
    loss: DistillationLoss,
    groups: int,
    step: int,
    write: Write,
) -> None:
    """Validate the averaged weights: print the terms and append one row per term to the curve."""
    shadow.load_state_dict(averaged)
    terms = validate(shadow, batches, targets, loss, groups)
    for name, value in terms.items():
        write([step, name, f"{value:.5f}"])
    tqdm.write(f"step {step}: " + " ".join(f"{name}={value:.3f}" for name, value in terms.items()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="the teacher, safetensors")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoint, curve and weights go")
    parser.add_argument("--pools", type=Path, required=True, help="where the rendered images go")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out if there is one")
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--groups", type=int, default=6, help=f"pool images per batch, {CROPS} crops of each")
    parser.add_argument("--pool", type=int, default=3000, help="images to render")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--moments", type=int, default=60, help="batches to estimate the teacher's moments from")
    parser.add_argument("--every", type=int, default=200, help="steps between validation and checkpoint")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves PyTorch's choice")
    parser.add_argument("--random-start", action="store_true", help="do not initialise from the teacher")
    return parser.parse_args()


if __name__ == "__main__":
    distill(_arguments())
