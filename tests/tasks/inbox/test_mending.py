"""A flipped bit in a line's ledger is used by nobody: the next poll notes everything as it was, and says so."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from prefect.logging import disable_run_logger

from flows.line import retrain
from irp_core.config import Params
from irp_core.config.lines import Inbox, Line
from irp_core.line import ledger_file
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.line.rounds import begin_round, open_round
from irp_core.line.selection import select
from tasks.inbox import mending
from tasks.inbox.mending import lost_images, put_away
from tasks.inbox.poll import look_key, poll
from tasks.inbox.rounds import begin
from tasks.versions.snapshots import add_to_cache, locked_repository
from tests.conftest import make_workspace

pytestmark = pytest.mark.trust

DAY = 86_400.0
KNOWN, NEW, FLIPS = 5, 2, 30


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line with a round of images, and more that are new: `inbox/`, and the project it is of, `project/`."""
    root = tmp_path_factory.mktemp("made")
    (root / "inbox").mkdir()
    (root / "project").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "project")
        _live(line_of(root))
    return root


@pytest.fixture
def line(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    """The same, of a test's own."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "project")
    return line_of(tmp_path)


def line_of(root: Path) -> Line:
    return Line(name="line3", inbox=str(root / "inbox"), taking=Inbox(settle=5.0))


def _live(line: Line) -> None:
    inbox = Path(line.inbox)
    arrive(inbox, range(KNOWN))
    poll(line, Params(), now=DAY)
    poll(line, Params(), now=DAY + 10)
    folder, params = LineFolder("line3"), Params()
    ledger = Ledger(folder.ledger)
    images = ledger.images()
    known = ledger.facts(images["image_id"], look_key(params.images))
    selection = select(images, images, known, params, {})
    ledger.assign(selection.new, begin_round(folder, selection, params.model_dump(mode="json"), "a test", DAY).number)
    arrive(inbox, range(KNOWN, KNOWN + NEW))
    poll(line, Params(), now=2 * DAY)
    poll(line, Params(), now=2 * DAY + 10)


def arrive(inbox: Path, seeds: range) -> None:
    for seed in seeds:
        noise = np.random.default_rng(seed).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(noise).save(inbox / f"{seed}.png")


def told(line: Line) -> tuple[pd.DataFrame, dict[str, int]]:
    ledger = Ledger(LineFolder(line.name).ledger)
    images = ledger.images()
    known = ledger.facts(images["image_id"], look_key(Params().images))
    for name, seen in known.items():
        assert seen.md5 == images.set_index("image_id").loc[name, "md5"]
    return images, ledger.counts()


def noted(images: pd.DataFrame) -> pd.DataFrame:
    """All but when an image was taken, which is its file's time where the file's own row is gone, too."""
    return images.set_index("image_id")[["md5", "round", "held_out", "set_aside"]].sort_index()


def test_no_flipped_bit_is_used(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    file = LineFolder("line3").ledger
    whole = file.read_bytes()
    images, counts = told(line)
    seen = Ledger(file).facts(images["image_id"], look_key(Params().images))
    rng = random.Random(5)
    healed = 0
    for _ in range(FLIPS):
        content = bytearray(whole)
        at = rng.randrange(len(content))
        content[at] ^= 1 << rng.randrange(8)
        file.write_bytes(bytes(content))
        caplog.clear()
        poll(line, Params(), now=3 * DAY)
        if "made again" in caplog.text:
            poll(line, Params(), now=3 * DAY + 10)
        again, other = told(line)
        assert noted(again).equals(noted(images)), at
        assert other == counts, at
        for name, facts in Ledger(file).facts(images["image_id"], look_key(Params().images)).items():
            assert np.array_equal(facts.thumbnail, seen[name].thumbnail) and facts.width == seen[name].width, at
        if not again.equals(images):
            assert "made again" in caplog.text
        healed += "made again" in caplog.text
    assert healed


@pytest.mark.parametrize(
    "harm",
    [Path.unlink, lambda file: (file.unlink(), Ledger(file)), lambda file: file.write_bytes(b"\0" * 9000)],
    ids=["lost", "lost and opened", "overwritten"],
)
def test_a_lost_ledger_is_made_again_from_the_images_and_the_rounds(line: Line, harm: Callable[[Path], object]) -> None:
    images, counts = told(line)
    harm(LineFolder("line3").ledger)
    poll(line, Params(), now=3 * DAY)
    found = poll(line, Params(), now=3 * DAY + 10)
    assert (found.taken, found.problems) == (0, [])
    again, other = told(line)
    assert noted(again).equals(noted(images))
    assert other == counts


BOUNDARIES: list[tuple[object, str]] = [
    (mending, "salvage"),
    (ledger_file, "make_tables"),
    (Ledger, "together"),
    (mending, "look"),
    (Ledger, "enter"),
    (Ledger, "assign"),
    (Path, "replace"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", BOUNDARIES, ids=[name for _, name in BOUNDARIES])
@pytest.mark.parametrize("lost", [False, True], ids=["damaged", "lost"])
def test_a_ledger_that_is_made_again_is_made_whole_or_not_at_all(
    lost: bool, at: tuple[Any, str], after: bool, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after any step of it, the next poll makes the same: a salvaged one without its rounds would pass
    for a whole one, and its images for new ones."""
    folder = LineFolder("line3")
    images, _ = told(line)
    if lost:
        folder.ledger.unlink()
    else:
        with closing(sqlite3.connect(folder.ledger)) as database, database:  # the images of the round
            database.execute("UPDATE images SET taken_at = 3.5 WHERE round = 1")
    step = getattr(*at)

    def killed(*arguments: Any, **options: Any) -> object:
        if after:
            step(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*at, killed)
        with suppress(KeyboardInterrupt):
            poll(line, Params(), now=3 * DAY)
    poll(line, Params(), now=3 * DAY)
    poll(line, Params(), now=3 * DAY + 10)
    assert noted(told(line)[0]).equals(noted(images))
    assert [file.name for file in folder.path.glob(".ledger*")] == []


def test_a_round_goes_on_with_the_ledger_made_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LineFolder("line3").ledger
    images, _ = told(line)
    file.unlink()
    seen = []
    monkeypatch.setattr(retrain, "_carry_out", lambda *_: seen.append(Ledger(file).images()) or {})
    with disable_run_logger():
        retrain._round(line, Params(), False)
    assert noted(seen[0]).equals(noted(images))


def test_an_image_that_is_gone_with_its_entry_is_forgotten_and_comes_again(line: Line) -> None:
    folder = LineFolder("line3")
    folder.ledger.unlink()
    shutil.rmtree(min(folder.images.iterdir()))
    poll(line, Params(), now=3 * DAY)
    assert poll(line, Params(), now=3 * DAY + 10).taken == KNOWN


@pytest.mark.parametrize("name", ["round.json", "manifest.parquet", "near_copies.parquet"])
def test_a_round_that_was_damaged_begins_again_with_its_images(line: Line, name: str) -> None:
    folder = LineFolder("line3")
    images = Ledger(folder.ledger).images()
    this = open_round(folder)
    assert this is not None and this.damage() is None
    file = this.path / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    again, damage = open_round(folder), this.damage()
    assert again == this and damage is not None and name in damage
    put_away(this, damage, Ledger(folder.ledger))
    assert open_round(folder) is None
    now = Ledger(folder.ledger).images()
    assert now["round"].isna().all() and now["image_id"].equals(images["image_id"])


@pytest.mark.parametrize("at", [(Path, "rename"), (Ledger, "begin_again")], ids=["rename", "ledger"])
def test_a_round_that_was_put_away_by_half_is_put_away_again(
    line: Line, at: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LineFolder("line3")

    def put_away_if_open() -> None:
        if (this := open_round(folder)) is not None:
            put_away(this, "tables", Ledger(folder.ledger))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*at, killed)
        put_away_if_open()
    put_away_if_open()
    assert open_round(folder) is None
    assert Ledger(folder.ledger).images()["round"].isna().all()


def test_of_a_comparison_what_was_damaged_goes_on_no_record(line: Line) -> None:
    this = open_round(LineFolder("line3"))
    assert this is not None
    this.checks.write_bytes(b"table")
    this.page.write_text("page")
    assert this.comparison() == [this.checks, this.page]  # of irp up to 0.13, which noted no digests
    this.note_comparison()
    this.page.write_text("another page")
    assert this.comparison() == [this.checks]


def test_an_image_that_was_damaged_is_had_again_or_left_out_and_stops_no_round(line: Line) -> None:
    make_workspace(Path.cwd())
    folder, params = LineFolder("line3"), Params()
    this = open_round(folder)
    assert this is not None and lost_images(this, folder) == []
    manifest = this.prepared.manifest()
    first, second, third = manifest["image_id"][:3]
    with locked_repository() as repo:
        add_to_cache(repo, manifest[manifest["image_id"] == first], folder.images, hardlink=False)
    whole = (folder.images / first).read_bytes()
    for name in (first, second):
        (folder.images / name).write_bytes(b"damaged")
    (folder.images / third).unlink()
    assert lost_images(this, folder) == [second, third]
    assert (folder.images / first).read_bytes() == whole
    assert (folder.damaged / second).read_bytes() == b"damaged"
    put_away(this, "images", Ledger(folder.ledger))
    with disable_run_logger():
        again = begin.fn(line, params, force=True)
    assert again is not None and again.number == this.number
    assert set(again.prepared.manifest()["image_id"]).isdisjoint({second, third})
    assert again.prepared.quarantine()["image_id"].tolist() == [second, third]
