"""The replay: good images raise no alarm; darker ones and blurred ones do within one window, and are told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.detectors import Gaussian
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, save_inspector
from irp_core.line.definition import write_line
from tasks.monitoring import watch

Change = Callable[[Image.Image], Image.Image]


def plates(folder: Path, count: int, seed: int, change: Change = lambda image: image) -> Path:
    """Plates with a gradient of the light, grain, and a hole that is never in the same place."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :64]
    for number in range(count):
        grey = 150 + rng.normal(0, 3) + rng.normal(0, 0.1) * columns + rng.normal(0, 12, (64, 64))
        at = rng.uniform(20, 44, 2)
        grey[(rows - at[0]) ** 2 + (columns - at[1]) ** 2 < 60] -= 90
        pixels = np.clip(grey, 0, 255).astype(np.uint8)
        change(Image.fromarray(pixels)).save(folder / f"{number:04d}.png")
    return folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> tuple[Path, Path]:
    """(model, folder of the commissioning window)."""
    root = tmp_path_factory.mktemp("watched")
    model = root / "model"
    (root / "trained").mkdir()
    model.mkdir()
    noise = FeatureSet(np.random.default_rng(0).normal(size=(8, 2, 512)).astype(np.float32))
    detector = Gaussian(torch.device("cpu"))
    detector.fit(noise)
    detector.save(root / "trained")
    save_inspector(model, root / "trained", load_backbone("bundled", None), tiny, {"threshold": 1.0})
    seeing = Inspector(model, "cpu")
    training = [seeing.see(file.read_bytes()).views for file in sorted(plates(root / "train", 60, 1).iterdir())]
    detector.fit(seeing.features(training))
    detector.save(root / "trained")
    commissioning = plates(root / "commissioning", 200, 2)
    save_inspector(model, root / "trained", load_backbone("bundled", None), tiny, {"threshold": 1.0})
    threshold = float(np.quantile(Inspector(model, "cpu").score(sorted(commissioning.iterdir()))["score"], 0.95))
    save_inspector(model, root / "trained", load_backbone("bundled", None), tiny, {"threshold": threshold})
    return model, commissioning


def test_five_hundred_good_images_raise_no_alarm(scene: tuple[Path, Path], tiny: Params, tmp_path: Path) -> None:
    model, commissioning = scene
    table = watch(str(model), commissioning, plates(tmp_path / "new", 500, 3), tiny)
    assert table["images"].tolist() == [100] * 5
    assert not table["alarm"].any()
    assert table["changed"].tolist() == [""] * 5


@pytest.mark.parametrize(
    ("change", "said", "not_said"),
    [
        (lambda image: image.point(lambda value: int(0.7 * value)), "30 % darker", "sharp"),
        (lambda image: image.filter(ImageFilter.GaussianBlur(1.2)), "less sharp: out of focus", "darker"),
    ],
    ids=["darker", "out of focus"],
)
def test_what_happened_is_told_within_one_window(
    change: Change, said: str, not_said: str, scene: tuple[Path, Path], tiny: Params, tmp_path: Path
) -> None:
    model, commissioning = scene
    table = watch(str(model), commissioning, plates(tmp_path / "new", 100, 4, change), tiny)
    assert table["alarm"].tolist() == [True]
    assert said in table["changed"][0]
    assert not_said not in table["changed"][0]


def test_the_command_says_it_and_tells_the_line(
    scene: tuple[Path, Path], tiny: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from flows.cli.operation.monitor import monitor

    told: list[tuple[str, str, str]] = []
    monkeypatch.setattr(
        "tasks.notify.tell", lambda line, event, payload: told.append((line.name, event, payload["reason"])) or []
    )
    monkeypatch.chdir(tmp_path)
    write_line(Line(name="line3", inbox="in"), Path.cwd())
    model, commissioning = scene
    new = plates(tmp_path / "new", 100, 5, lambda image: image.point(lambda value: int(0.7 * value)))
    monitor(str(model), new, commissioning, 100, Path("windows.csv"), "line3", None, ["images.size=64"])
    said = capsys.readouterr().out
    assert "1 of 1 windows alarm." in said
    assert "30 % darker" in said.replace("\n", " ")
    ((name, event, reason),) = told
    assert (name, event) == ("line3", "drift")
    assert "30 % darker" in reason
    assert Path("windows.csv").read_text().startswith("window,images,ks,")


def test_too_small_a_reference_is_refused(scene: tuple[Path, Path], tiny: Params, tmp_path: Path) -> None:
    model, commissioning = scene
    with pytest.raises(InputError, match="at least 100"):
        watch(str(model), plates(tmp_path / "few", 30, 6), commissioning, tiny)
