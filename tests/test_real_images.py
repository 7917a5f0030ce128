"""Real images and real weights; skipped with a reason where they are absent (IRP_SHARED)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from irp_core.backbones import load_backbone
from irp_core.config import Contamination, Dataset
from irp_core.data.contamination import contaminate
from irp_core.data.manifest import testing_rows as held_out
from irp_core.data.manifest import training_rows
from irp_core.data.scan import scan
from irp_core.detectors import DifferNet
from irp_core.features.extraction import NetworkPass, extract
from irp_core.features.feature_set import FeatureSet
from irp_core.features.pooled import PooledExtractor, extractor_spec
from irp_core.features.store import FeatureStore
from irp_core.params_file import load_params
from tests.conftest import shared

pytestmark = pytest.mark.realdata


def test_magnetic_tiles_are_read_as_published() -> None:
    found = scan(shared() / "data" / "mtd")
    assert found.layout == "mtd"
    assert found.manifest["label"].value_counts().to_dict() == {"good": 952, "defective": 392}
    assert found.quarantine.empty
    assert found.manifest.loc[found.manifest["label"] == "defective", "mask_path"].notna().all()


def test_bottle_is_read_as_mvtec() -> None:
    found = scan(shared() / "data" / "mvtec" / "bottle")
    counts = found.manifest.groupby(["split", "label"]).size().to_dict()
    assert counts == {("train", "good"): 194, ("test", "good"): 20, ("test", "defective"): 63}


@pytest.mark.parametrize(("backbone", "least"), [("bundled", 0.85), ("resnet18", 0.85)])
def test_a_small_detector_tells_bottles_apart(backbone: str, least: float, tmp_path: Path) -> None:
    """100 good bottles, one view at 128 px: a smoke test of weights, normalisation and pooling, not a result."""
    root = shared() / "data" / "mvtec" / "bottle"
    options = ["images.size=128", "features.scales=[128,64]", "views.train=1", "views.score=1"]
    params = load_params(None, options)
    weights = shared() / "weights" / "resnet18_layer3_bnfolded.safetensors" if backbone == "resnet18" else None
    loaded = load_backbone(backbone, weights)
    extractor = PooledExtractor(loaded, params.features.scales, torch.device("cpu"), torch.float32)
    store = FeatureStore(tmp_path, extractor_spec(params, loaded, torch.float32))
    manifest = contaminate(scan(root).manifest, Dataset(), Contamination(set_size=100, defect_pool=0.5), seed=0)
    train, test = training_rows(manifest), held_out(manifest)
    features = []
    for rows in (train, test):
        extract(rows, root, {"pooled": store}, NetworkPass(extractor, [], pooled=True), params)
        features.append(FeatureSet(store.get(rows["md5"].tolist(), 1)))
    detector = DifferNet(features[0].pooled.shape[2], params.differnet, params.training, torch.device("cpu"))
    detector.fit(features[0], epochs=40, seed=0)
    scores = detector.score(features[1])
    assert np.isfinite(scores).all()
    assert roc_auc_score(test["label"] == "defective", scores) > least
