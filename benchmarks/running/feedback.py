"""A kind of defect that no training saw: how kept images are ranked by score, and after ten answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.demo.plant import write_demo_plant
from irp_core.detectors import Gaussian
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, save_inspector
from irp_core.refinement.careful.asking import believe
from irp_core.refinement.careful.assessment import ask_the_labels
from irp_core.refinement.careful.landscape import landscape

__all__ = ["BENCHMARKS"]

GOOD, DEFECTIVE = 80, 72
"""Good images that are trained on, and as many that come later; defective ones of six kinds."""
ANSWERS, SEEDS = 10, (0, 1, 2)
_NEAR = (0.1, 0.3)  # shares of the threshold below it at which an image is kept


def feedback() -> list[tuple[str, str]]:
    """The demo plant, trained on good images alone; images of each of its six kinds come with good ones, and a person
    answers questions about those that are kept. AUROC among those that nobody answered for, mean over kinds and seeds.
    """
    found: dict[float, list[tuple[float, float]]] = {near: [] for near in _NEAR}
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as name:
            train, good, kinds = _features(Path(name), seed)
        detector = Gaussian(torch.device("cpu"))
        detector.fit(FeatureSet(train))
        threshold = float(np.quantile(detector.score(FeatureSet(good)), 0.95))
        for kind in kinds:
            features = np.concatenate([good, kind])
            bad = np.arange(len(features)) >= len(good)
            scores = np.asarray(detector.score(FeatureSet(features)))
            for near in _NEAR:
                kept = scores > (1.0 - near) * threshold
                if (auroc := _after_answers(features[kept].mean(axis=1), scores[kept], bad[kept])) is not None:
                    found[near].append(auroc)
    rows = []
    for near, pairs in found.items():
        by_score, after = np.mean(pairs, axis=0) if pairs else (np.nan, np.nan)
        what = f"kept above {1 - near:.1f} x threshold: AUROC of the unanswered, by score / after {ANSWERS} answers"
        rows.append((what, f"{by_score:.3f} / {after:.3f} ({len(pairs)} cases)"))
    return rows


def _after_answers(
    features: NDArray[np.float32], scores: NDArray[np.float64], bad: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """AUROC by score and by the answers' model; None where those that are left are of one sort."""
    if len(bad) < 3:
        return None
    names = [f"{number:04d}" for number in range(len(bad))]
    seen = landscape(scores[:, None], features, names)
    answers = ask_the_labels(seen, dict(zip(names, bad.tolist(), strict=True)), ANSWERS)
    belief = believe(seen, answers)
    rest = ~belief.answered
    if len(set(bad[rest])) < 2:
        return None
    return roc_auc_score(bad[rest], scores[rest]), roc_auc_score(bad[rest], belief.defective[rest])


def _features(root: Path, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32]]]:
    plant = write_demo_plant(root / "plant", train_good=GOOD, test_good=GOOD, defective=DEFECTIVE, seed=seed)
    any_detector = Gaussian(torch.device("cpu"))
    any_detector.fit(FeatureSet(np.random.default_rng(0).normal(size=(60, 4, 768)).astype(np.float32)))
    (root / "trained").mkdir()
    any_detector.save(root / "trained")
    (root / "model").mkdir()
    save_inspector(root / "model", root / "trained", load_backbone("bundled", None), Params(), {"threshold": 1.0})
    inspector = Inspector(root / "model", "cpu")

    def of(folder: Path) -> NDArray[np.float32]:
        files = sorted(folder.iterdir())
        views = [inspector.see(file.read_bytes()).views for file in files]
        return np.concatenate(
            [inspector.features(views[start : start + 8]).pooled for start in range(0, len(views), 8)]
        )

    kinds = [of(folder) for folder in sorted((plant / "test").iterdir()) if folder.name != "good"]
    return of(plant / "train" / "good"), of(plant / "test" / "good"), kinds


BENCHMARKS = {"feedback": feedback}
