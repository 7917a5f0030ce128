"""The replay: good images raise no alarm; darker ones and blurred ones do within one window, and are told apart."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.atomic import atomic_path
from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.config.lines import Line, Monitoring
from irp_core.data.look import Facts, look
from irp_core.detectors import Gaussian
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, save_inspector
from irp_core.line.definition import write_line
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger, SeenFile
from irp_core.monitoring.now import read_now
from tasks.monitoring import LineSeen, watch, watch_line
from tasks.monitoring import line as line_module
from tasks.monitoring.line import _known
from tests.tasks.notify.test_telling import Receiver

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
    table = watch(str(model), commissioning, plates(tmp_path / "new", 500, 3), tiny).windows
    assert table["images"].tolist() == [100] * 5
    assert not table["alarm"].any()
    assert table["changed"].tolist() == [""] * 5


def test_a_camera_that_stands_still_is_told(scene: tuple[Path, Path], tiny: Params, tmp_path: Path) -> None:
    model, commissioning = scene
    new = plates(tmp_path / "new", 100, 5)
    for number in range(40, 100):  # one part again and again, with a little noise
        pixels = np.asarray(Image.open(new / "0039.png")).astype(int) + number % 2
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(new / f"{number:04d}.png")
    table = watch(str(model), commissioning, new, tiny).windows
    assert re.search(r"6[0-2] % of the images repeat one just before, at commissioning 0 %", table["changed"][0])


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
    table = watch(str(model), commissioning, plates(tmp_path / "new", 100, 4, change), tiny).windows
    assert table["alarm"].tolist() == [True]
    assert said in table["changed"][0]
    assert not_said not in table["changed"][0]


def darker(image: Image.Image) -> Image.Image:
    return image.point(lambda value: int(0.7 * value))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_command_says_it_and_tells_the_line(
    scene: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.chdir(tmp_path)
    write_line(Line(name="line3", inbox="in", webhook=receiver.address), Path.cwd())
    model, commissioning = scene
    new = plates(tmp_path / "new", 100, 5, darker)
    arguments = [
        "monitor", str(model), str(new), "--reference", str(commissioning), "-o", "windows.csv", "--page", "page.html",
        "--line", "line3", "-S", "images.size=64",
    ]  # fmt: skip
    said = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "1 of 1 windows alarm." in said
    assert "30 % darker" in said.replace("\n", " ")
    ((_, body),) = receiver.got
    message = json.loads(body)
    assert message["event"] == "irp.drift"
    assert "30 % darker" in message["text"]
    assert Path("windows.csv").read_text().startswith("window,images,ks,")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Drift since" in page and "30 % darker" in page
    assert page.count("data:image/jpeg;base64,") == 18
    assert not re.search(r'(src|href)="(?!data:)[^#]', page)  # self-contained


def killed(write: Callable[..., Any]) -> Callable[..., Any]:
    """As `write` of `irp_core.atomic`, killed before the file takes its place."""

    @contextmanager
    def path(file: Path) -> Iterator[Path]:
        with write(file) as temporary:
            yield temporary
            raise KeyboardInterrupt

    def json_(*_: object) -> None:
        raise KeyboardInterrupt

    return path if write is atomic_path else json_


def test_a_line_is_watched_from_when_its_detector_came_into_service(
    scene: tuple[Path, Path], tiny: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    model, _ = scene
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []

    def of_registry(name: str, params: Params, **_: object) -> Inspector:
        opened.append(name)
        return Inspector(model, "cpu")

    monkeypatch.setattr("tasks.monitoring.line.open_inspector", of_registry)
    line = Line(name="line3", inbox="in", webhook=receiver.address, monitoring=Monitoring(reference=100))
    folder = LineFolder("line3").make()
    ledger = Ledger(folder.ledger)
    since = datetime(2026, 11, 2, 6, tzinfo=UTC)

    def arrive(day: str, count: int, seed: int, at: float, change: Change = lambda image: image) -> None:
        with ledger.together():
            for file in sorted(plates(folder.images / day, count, seed, change).iterdir()):
                facts = look(file, tiny.images)
                assert isinstance(facts, Facts)
                ledger.take(SeenFile(f"{day}/{file.name}", 1, "1"), f"{day}/{file.name}", facts, "key", at)

    def looked() -> LineSeen:
        return watch_line(line, tiny, "7", since)

    began = since.timestamp()
    arrive("2026-11-01", 20, 7, began - 60)  # the detector before this one saw them
    arrive("2026-11-02", 130, 8, began + 60)
    seen = looked()
    assert (seen.scored, len(seen.watched.reference), len(seen.watched.windows)) == (130, 100, 0)
    assert "Too few to tell" in seen.page.read_text(encoding="utf-8")
    arrive("2026-11-03", 70, 9, began + 3600)
    arrive("2026-11-04", 101, 10, began + 7200, darker)
    (folder.images / "2026-11-04" / "0000.png").write_bytes(b"gone bad")
    seen = looked()
    assert seen.scored == 171
    assert seen.watched.windows["alarm"].tolist() == [False, True]
    assert seen.watched.windows["first"].tolist() == ["2026-11-02/0100.png", "2026-11-04/0001.png"]
    assert seen.told is not None and "% darker" in seen.told
    message = json.loads(receiver.got[0][1])
    assert (message["event"], message["payload"]["since"]) == ("irp.drift", "2026-11-04/0001.png")
    assert (now := read_now(folder.monitoring)) is not None
    assert (now.version, now.windows, now.alarm) == ("7", 2, True)
    again = looked()
    assert (again.scored, again.told, len(receiver.got)) == (0, None, 1)
    pd.testing.assert_frame_equal(again.watched.windows, seen.watched.windows)
    assert opened == ["line3/7", "line3/7"]
    assert seen.watched.new["difference"].notna().all()  # the first of a poll is held against those of the poll before
    (table,) = folder.monitoring.glob("7-*/measured.parquet")
    arrive("2026-11-05", 1, 11, began + 9000)
    for name in ("write_json", "atomic_path"):  # the digest's and the table's
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(f"tasks.monitoring.line.{name}", killed(getattr(line_module, name)))
            looked()
        assert len(_known(table)) == 301, name
    assert looked().scored == 1
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(bytes(content))
    assert _known(table).empty  # all are scored again


def test_a_round_starts_on_the_monitors_drift_where_the_line_says_so() -> None:
    from flows.line.serving import starts_of_rounds

    calm = Line(name="line3", inbox="in")
    (ready,) = starts_of_rounds(calm)
    assert (ready.event, ready.resource) == ("irp.inbox.ready", "irp.line.line3")
    _, drifted = starts_of_rounds(calm.model_copy(update={"monitoring": Monitoring(retrain=True)}))
    assert (drifted.event, dict(drifted.labels), dict(drifted.parameters)) == (
        "irp.drift", {"irp.by": "monitor"}, {"force": True},
    )  # fmt: skip


def test_too_small_a_reference_is_refused(scene: tuple[Path, Path], tiny: Params, tmp_path: Path) -> None:
    model, commissioning = scene
    with pytest.raises(InputError, match="at least 100"):
        watch(str(model), plates(tmp_path / "few", 30, 6), commissioning, tiny)
