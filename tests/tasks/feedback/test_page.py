"""`irp review LINE`: what a service kept is shown, answered and taken back; the answers are in the one log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.atomic import write_json
from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.inspection import Inspector
from irp_core.line.definition import write_line
from irp_core.refinement.careful.landscape import landscape
from irp_core.refinement.reviews import read_events
from tasks.feedback import answers
from tasks.feedback.answers import Answer, Feedback
from tasks.feedback.kept_folder import KeptFolder
from tasks.feedback.page import KeptServer
from tasks.scoring import open_inspector
from tests.tasks.feedback.conftest import Keep
from tests.tasks.serve.test_service import make_model


class Page:
    """The page's server, asked without a socket."""

    def __init__(self, server: KeptServer) -> None:
        self._server = server
        self._app = server.app()

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            base = f"http://127.0.0.1:{self._server.port}/{self._server.token}/"
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url=base) as client:
                return await client.request(method, path, **request)

        return asyncio.run(ask())

    def post(self, path: str, **body: str) -> dict[str, Any]:
        answer = self("POST", path, json={"reviewer": "Ada", **body})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def page(kept: KeptFolder, tiny: Params) -> Iterator[Page]:
    server = KeptServer(Feedback(kept, Path("decisions.csv")), tiny, "line3", "Ada")
    yield Page(server)
    server._socket.close()


def open_(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in answer["items"] if item["review"] is None]


def test_where_the_images_stand_is_found_once_for_all_answers(
    page: Page, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(answers, "landscape", lambda *given: made.append(given[2]) or landscape(*given))
    md5s = [keep(number, score=0.95) for number in range(6)]
    for md5 in md5s[:3]:
        page.post("decision", md5=md5, decision="keep")
        page("GET", "items")
        page("GET", f"neighbours/{md5}")
    assert len(made) == 1
    keep(10, kind=1, score=0.93)
    page("GET", "items")
    assert [len(images) for images in made] == [6, 7]


def test_the_likeliest_defect_comes_first_and_answers_are_in_the_log(page: Page, keep: Keep) -> None:
    ordinary = [keep(number, score=0.95) for number in range(6)]
    odd = [keep(10 + number, kind=1, score=0.93) for number in range(6)]
    assert {item["kind"] for item in page("GET", "items").json()["items"]} == {"near"}
    for md5 in (odd[0], odd[1]):
        page.post("decision", md5=md5, decision="remove", note="label left on the plate")
    page.post("decision", md5=ordinary[0], decision="keep")
    answer = page("GET", "items").json()
    assert {item["md5"] for item in open_(answer)[:4]} == set(odd[2:])  # of lower scores, but of the named kind
    shares = [item["likely"] for item in open_(answer)]
    assert shares == sorted(shares, reverse=True)
    events = read_events(Path("decisions.csv"))
    assert dict(zip(events["md5"], events["decision"], strict=True)) == {
        odd[0]: "removed_by_review", odd[1]: "removed_by_review", ordinary[0]: "kept_by_review",
    }  # fmt: skip
    assert set(events["run_id"]) == {"served by m"}
    beside = page("GET", f"neighbours/{odd[2]}").json()
    assert len(beside) == 6 and {row["md5"] for row in beside[:5]} == set(odd) - {odd[2]}


def test_an_answer_is_taken_back_and_the_one_before_counts_again(page: Page, keep: Keep, kept: KeptFolder) -> None:
    first, *_ = [keep(number) for number in range(3)]
    page.post("decision", md5=first, decision="keep")
    page.post("decision", md5=first, decision="remove")
    assert kept.row(first)["answered"]
    assert page.post("undo") == {"can_undo": True, "md5": first}
    answer = page("GET", "items").json()
    assert [item["review"]["decision"] for item in answer["items"] if item["md5"] == first] == ["kept_by_review"]
    page.post("undo")
    assert len(open_(page("GET", "items").json())) == 3
    assert not kept.row(first)["answered"]
    assert page("POST", "undo", json={"reviewer": "Ada"}).status_code == 409


def test_an_answer_about_an_image_that_is_gone_stands_before_no_other_undo(
    page: Page, keep: Keep, kept: KeptFolder
) -> None:
    first, gone = keep(0), keep(1)
    page.post("decision", md5=first, decision="remove")
    page.post("decision", md5=gone, decision="remove")
    for ending in ("json", "npy", "image"):
        (kept.folder / f"{gone}.{ending}").unlink()
    answer = page("POST", "undo", json={"reviewer": "Ada"})
    assert answer.status_code == 400 and "no longer kept" in answer.json()["detail"]
    assert page.post("undo")["md5"] == first


def test_pictures_maps_and_what_is_gone(
    page: Page, keep: Keep, kept: KeptFolder, tiny: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tmp_path / "model", tiny, 0, 1.0)

    def opened(name: str, *of: Any, **more: Any) -> Inspector:
        if name != str(model):
            raise InputError(f"{name}: the registry knows no such model")
        return open_inspector(name, *of, **more)

    monkeypatch.setattr("tasks.feedback.page.open_inspector", opened)
    mapped, without, lost = keep(0, model=str(model)), keep(1, model="runs/gone"), keep(2)
    for size in ("small", "large", "map"):
        answer = page("GET", f"image/{mapped}/{size}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), size
    answer = page("GET", f"image/{without}/map")
    assert answer.status_code == 400 and "runs/gone" in answer.json()["detail"]
    for ending in ("json", "npy", "image"):  # it made room for others
        (kept.folder / f"{lost}.{ending}").unlink()
    assert page("GET", f"image/{lost}/large").status_code == 404
    answer = page("POST", "decision", json={"md5": lost, "decision": "keep", "reviewer": "Ada"})
    assert answer.status_code == 400 and "no longer kept" in answer.json()["detail"]
    assert page("GET", f"image/{'../' * 3}etc/large").status_code in (404, 422)


def test_the_page_speaks_of_good_and_defective(page: Page, keep: Keep) -> None:
    keep(0)
    text = page("GET", "").text
    for said in ("Defective <kbd>D</kbd>", "Good <kbd>G</kbd>", "near the threshold", "resemble it most"):
        assert said in text
    assert 'id="approve"' not in text


def test_the_command_opens_the_images_of_the_line(
    keep: Keep, kept: KeptFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "golden").mkdir()
    write_line(Line(name="line3", inbox="in", golden="golden"), Path())
    bad, _ = keep(0), keep(1)

    def answers(server: KeptServer) -> None:
        assert server.says()["subject"] == "line3: lines/line3/kept"
        server.decide(bad, False, "Ada", "")

    monkeypatch.setattr(KeptServer, "run", answers)
    said = CliRunner().invoke(app, ["review", "line3", "--no-browser"], catch_exceptions=False).output
    assert "1 images answered now; of 2 kept, 1 are called defective, 0 good, and 1 are open." in said
    assert "irp line golden line3" in said
    with pytest.raises(InputError, match="--ask asks about a run"):
        CliRunner().invoke(app, ["review", "line3", "--ask", "3"], catch_exceptions=False)
    with pytest.raises(InputError, match="expected the folder that `irp serve --keep` fills"):
        CliRunner().invoke(app, ["review", "line3", "--kept", "elsewhere"], catch_exceptions=False)


@pytest.mark.trust
def test_what_was_damaged_of_a_kept_image_is_left_out(kept: KeptFolder, keep: Keep) -> None:
    harmed, other, whole = keep(1), keep(2), keep(3)
    facts, features = kept.folder / f"{harmed}.json", kept.folder / f"{other}.npy"
    facts.write_text(facts.read_text().replace('"score": 2.0', '"score": 3.0'))
    content = bytearray(features.read_bytes())
    content[-2] ^= 1
    features.write_bytes(bytes(content))
    assert [row["md5"] for row in kept.rows()] == sorted([whole, other], key=[other, whole].index, reverse=True)
    with pytest.raises(KeyError):
        kept.row(harmed)
    with pytest.raises(FileNotFoundError):
        kept.features(other)
    assert kept.answer(whole)["answered"] and kept.features(whole).shape == (16,)


def test_an_image_makes_room_while_somebody_answers(
    kept: KeptFolder, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = keep(1)
    feedback, row = Feedback(kept, Path("decisions.csv")), kept.row
    with monkeypatch.context() as patched:

        def gone_after(name: str) -> dict[str, Any]:
            found = row(name)
            kept.image(name).unlink()
            return found

        patched.setattr(kept, "row", gone_after)
        assert feedback.record(Answer(md5=md5, defective=True, reviewer="Ada"))["answered"]
    assert feedback.said()[md5]["decision"] == "removed_by_review"
    assert not kept.row(md5)["answered"]  # nothing was written beside an image that is gone


def test_one_thread_writes_at_a_time(kept: KeptFolder, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    first = keep(1)
    order: list[bool] = []

    def write(path: Path, value: Any) -> None:
        if path.stem == first:
            other.start()
            other.join(0.3)  # it would be done by now, were it let in
        order.append(path.stem == first)
        write_json(path, value)

    monkeypatch.setattr("tasks.feedback.kept_folder.write_json", write)
    other = threading.Thread(target=keep, args=(2,))
    kept.answer(first)
    other.join()
    assert order == [True, False] and len(kept) == 2


def test_left_overs_and_damaged_images_are_swept_and_kept_again(kept: KeptFolder, keep: Keep) -> None:
    small = KeptFolder(kept.folder, images=2)
    harmed, *others = keep(1), keep(2), keep(3)
    small.rows()
    (kept.folder / f"{harmed}.json").write_text("{")
    assert harmed not in kept and keep(1) == harmed and harmed in kept  # its facts are whole again
    (kept.folder / f"{harmed}.json").write_text("{")
    for name in ("0" * 32 + ".image", "1" * 32 + ".npy", "mine.npy"):
        (kept.folder / name).write_bytes(b"x")
    keep(4)
    stems = {file.stem for file in kept.folder.iterdir() if not file.name.startswith(".")}
    assert stems == set(kept._read) | {"mine"} and harmed not in stems
    assert set(others) < stems and len(stems) == 4
    small.rows()
    assert set(small._read) == set(kept._read)
