"""The model card's table: ``python -m training.evaluate --teacher W --bundled B --mtd DIR --bottle DIR``.

One detector for all encoders: global average pooled features at 448, 224 and 112 px, each image seen upright and turned
by 180 degrees; Mahalanobis distance under Ledoit-Wolf shrinkage; an image's score is the mean over its two views.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from tqdm import tqdm

from irp_core.backbones.bundled import BundledEncoder
from training.augment import normalised
from training.teacher import load_teacher

Rows = dict[str, tuple[nn.Module, tuple[str, ...]]]
"""A row of the table: its network, and the maps of it that are pooled."""

SIDES = (448, 224, 112)


def split_mtd(root: Path, seed: int) -> tuple[list[Path], list[tuple[Path, bool]]]:
    """390 good images to fit; the other good ones (False) and all defective ones (True) to test."""
    good = sorted((root / "MT_Free").rglob("*.jpg"))
    bad = sorted(p for p in root.rglob("*.jpg") if "MT_Free" not in p.parts)
    order = np.random.default_rng(seed).permutation(len(good))
    train = [good[i] for i in order[:390]]
    return train, [(good[i], False) for i in order[390:]] + [(p, True) for p in bad]


def split_mvtec(root: Path) -> tuple[list[Path], list[tuple[Path, bool]]]:
    """MVTec's own layout: ``train/good``, ``test/good`` and ``test/<defect>``."""
    test = [(p, p.parent.name != "good") for p in sorted((root / "test").rglob("*.*"))]
    return sorted((root / "train" / "good").iterdir()), test


@torch.inference_mode()
def features(path: Path, table: Rows) -> dict[str, NDArray[np.float32]]:
    """Pooled features of the two views of one image for every row, ``(2, sum over sides of channels)``."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
        pooled: dict[str, list[Tensor]] = {name: [] for name in table}
        for side in SIDES:
            pixels = torch.from_numpy(np.array(rgb.resize((side, side), Image.Resampling.BILINEAR)))
            upright = normalised(pixels.permute(2, 0, 1)[None].float() / 255)
            views = torch.cat([upright, torch.rot90(upright, 2, (2, 3))])
            networks = {id(network): network for network, _ in table.values()}
            maps = {key: network(views) for key, network in networks.items()}
            for name, (network, layers) in table.items():
                pooled[name] += [maps[id(network)][layer].mean((2, 3)) for layer in layers]
    return {name: torch.cat(parts, 1).numpy() for name, parts in pooled.items()}


def auroc(table: Rows, train: list[Path], test: list[tuple[Path, bool]], title: str) -> dict[str, float]:
    """AUROC of every row on one data set."""
    extracted = [features(p, table) for p in tqdm([*train, *(p for p, _ in test)], desc=title)]
    labels = [bad for _, bad in test]
    result = {}
    for name in table:
        bank = np.stack([row[name] for row in extracted]).astype(np.float64)
        fitted = LedoitWolf().fit(bank[: len(train)].reshape(-1, bank.shape[-1]))
        distances = fitted.mahalanobis(bank[len(train) :].reshape(-1, bank.shape[-1])).reshape(-1, 2)
        result[name] = float(roc_auc_score(labels, np.sqrt(distances).mean(1)))
    return result


class _AlexNet(nn.Sequential):
    """torchvision's AlexNet ``features``, with random weights: for its speed only."""

    def __init__(self) -> None:
        def stage(i: int, o: int, kernel: int, stride: int, padding: int, pool: bool) -> Iterator[nn.Module]:
            yield from (nn.Conv2d(i, o, kernel, stride, padding), nn.ReLU(inplace=True))
            if pool:
                yield nn.MaxPool2d(3, 2)

        layout = (
            (3, 64, 11, 4, 2, True),
            (64, 192, 5, 1, 2, True),
            (192, 384, 3, 1, 1, False),
            (384, 256, 3, 1, 1, False),
            (256, 256, 3, 1, 1, True),
        )
        super().__init__(*(module for row in layout for module in stage(*row)))


@torch.inference_mode()
def milliseconds(networks: dict[str, nn.Module], side: int, rounds: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Wall and CPU time per image at batch size 4, networks in turn in every round, in both memory layouts.

    The best of the rounds is what the machine can do; other processes only ever add to it. CPU time, summed over the
    threads, is the fairer of the two on a machine that is not idle.
    """
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    images = torch.rand((4, 3, side, side), generator=torch.Generator().manual_seed(0))
    layouts = {"default": torch.contiguous_format, "channels_last": torch.channels_last}
    for layout, memory_format in layouts.items():
        given = images.contiguous(memory_format=memory_format)
        for network in networks.values():
            network.to(memory_format=memory_format)  # type: ignore[call-overload]
            network(given)
        for _ in range(rounds):
            for name, network in networks.items():
                begin = time.perf_counter(), time.process_time()
                network(given)
                wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
                times.setdefault((name, layout), []).append((wall / len(images) * 1e3, cpu / len(images) * 1e3))
    return {key: (min(w for w, _ in values), min(c for _, c in values)) for key, values in times.items()}


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--bundled", type=Path, required=True, help="exported weights of the student")
    parser.add_argument("--mtd", type=Path)
    parser.add_argument("--bottle", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", nargs="*", help="measure these encoders only; all by default")
    parser.add_argument("--speed", type=int, nargs="*", default=[], help="sides in pixels to time at")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    teacher = load_teacher(args.teacher)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(args.seed)
        untrained, alexnet = BundledEncoder().eval(), _AlexNet().eval()
    bundled = BundledEncoder().eval()
    bundled.load_state_dict({name: tensor.float() for name, tensor in load_file(args.bundled).items()})
    networks: dict[str, nn.Module] = {"bundled": bundled, "resnet18": teacher, "untrained": untrained}
    for network in networks.values():  # the faster layout on CPU for all of them
        nn.Module.to(network, memory_format=torch.channels_last)  # type: ignore[call-overload]
    table: Rows = {name: (network, ("layer3",)) for name, network in networks.items()}
    table["bundled, layer2+layer3"] = (bundled, ("layer2", "layer3"))
    if args.rows is not None:
        table = {name: table[name] for name in args.rows}
    sets = {}
    if args.mtd:
        sets["MTD"] = split_mtd(args.mtd, args.seed)
    if args.bottle:
        sets["bottle"] = split_mvtec(args.bottle)
    scores = {title: auroc(table, *split, title) for title, split in sets.items()}
    if sets:
        print("| encoder | " + " | ".join(f"AUROC {title}" for title in sets) + " |\n" + "|---" * (len(sets) + 1) + "|")
        for name in table:
            print(f"| {name} | " + " | ".join(f"{scores[title][name]:.3f}" for title in sets) + " |")
    for side in args.speed:
        for (name, layout), (wall, cpu) in milliseconds(networks | {"alexnet": alexnet}, side, args.rounds).items():
            print(f"{side} px, {layout}: {name}: {wall:.2f} ms wall, {cpu:.2f} ms CPU per image")


if __name__ == "__main__":
    main()
