"""A review: what the page writes, who may reach it, and that later runs respect it."""

from __future__ import annotations

import http.client
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import httpx
import pandas as pd
import pytest

from irp_core.errors import InputError
from irp_core.refinement.reviews import read_events
from irp_core.run.directory import RunDirectory
from tasks.review.server import ReviewServer
from tasks.review.session import Review
from tests.conftest import make_workspace
from tests.flows.harness import refine_in, store_of

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture
def reviewed(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Review:
    """A copy of the finished run that may be written to, in a workspace of its own."""
    workspace = make_workspace(tmp_path / "w")
    shutil.copytree(finished, workspace / "runs" / finished.name)
    monkeypatch.chdir(workspace)
    return Review(RunDirectory(Path("runs") / finished.name))


@pytest.fixture
def server(reviewed: Review) -> Iterator[ReviewServer]:
    server = ReviewServer(reviewed, "Ada")
    thread = threading.Thread(target=server.run)
    thread.start()
    for _ in range(1200):
        try:
            httpx.get(server.url)
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield server
    server.stop()
    thread.join(timeout=10)


def test_a_missing_file_of_decisions_is_said_before_anything_starts(plant: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from flows.cli.main import app

    with pytest.raises(InputError, match="no such file of review decisions"):
        CliRunner().invoke(app, ["refine", str(plant), "--decisions", str(tmp_path / "d.csv")], catch_exceptions=False)


@pytest.mark.timeout(120, func_only=True)  # not the run of the whole session that it reviews
def test_ctrl_c_ends_a_review_and_still_tells_what_was_decided(reviewed: Review, plant: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", "review", str(reviewed.run.path), "--no-browser", "--reviewer", "Ada"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background process of a shell that is not interactive would ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    while httpx.get(url).status_code != 200:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "0 images decided" in output


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the browser was asked for while `irp review` ran; the reviewer keeps one image."""
    opened: queue.Queue[str] = queue.Queue()
    seen: list[dict[str, Any]] = []

    def decides(server: ReviewServer) -> None:
        address = opened.get(timeout=120)
        file = Path(unquote(urlparse(address).path))
        seen.append({"address": address, "file": file, "mode": file.stat().st_mode & 0o777, "text": file.read_text()})
        seen[-1] |= {"token": server.token, "url": server.url}
        server.review.decide(server.review.items.iloc[0]["md5"], keep=True, reviewer="Ada")

    monkeypatch.setattr("webbrowser.open", opened.put)
    monkeypatch.setattr(ReviewServer, "run", decides)
    monkeypatch.setattr("tasks.tracking.writer.log_review", lambda review: None)  # the session's store stays as it is
    return seen


def test_a_review_from_elsewhere_writes_where_the_run_belongs(
    reviewed: Review, asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from flows.cli.main import app

    workspace, run = Path.cwd(), reviewed.run.path.resolve()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    answer = CliRunner().invoke(app, ["review", str(run)], catch_exceptions=False)
    assert answer.exit_code == 0
    assert "Next  irp refine " in answer.output
    assert len(read_events(workspace / "decisions.csv")) == 1
    assert list(elsewhere.iterdir()) == []
    # A run that was moved away from its store does not get a new one.
    moved = shutil.copytree(run, elsewhere / run.name)
    monkeypatch.chdir(elsewhere)
    record = json.loads((moved / "run.json").read_text())
    record["params"]["tracking"]["uri"] = "sqlite:///mlflow.db"
    (moved / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="expected the tracking store of"):
        CliRunner().invoke(app, ["review", str(moved)], catch_exceptions=False)
    assert [path.name for path in elsewhere.iterdir()] == [run.name]


def test_the_token_is_in_a_file_of_ones_own_and_not_in_the_browsers_arguments(
    reviewed: Review, asked: list[dict[str, Any]]
) -> None:
    from typer.testing import CliRunner

    from flows.cli.main import app

    CliRunner().invoke(app, ["review", str(reviewed.run.path)], catch_exceptions=False)
    (seen,) = asked
    assert seen["token"] not in seen["address"]
    assert seen["mode"] == 0o600
    assert f"url={seen['url']}" in seen["text"]
    assert not seen["file"].exists()


def test_what_is_up_for_review(reviewed: Review) -> None:
    items = reviewed.items
    removed = pd.read_parquet(reviewed.run.path / "removals.parquet")
    assert set(items.loc[items["kind"] == "removed", "image_id"]) == set(removed["image_id"])
    borderline = items[items["kind"] == "borderline"]
    assert len(borderline) == 10
    assert (borderline["score"] <= borderline["threshold"]).all()
    ratios = items["score"] / items["threshold"]
    assert ratios.is_monotonic_decreasing
    # Neighbours are the nearest scores of the same round, from both sides.
    item = items.iloc[2]
    scores = reviewed.scores.query("iteration == @item.iteration - 1").sort_values("score", ascending=False)
    at = scores["md5"].tolist().index(item["md5"])
    around = scores.iloc[max(0, at - 3) : at + 4]
    assert reviewed.neighbours(item["md5"])["md5"].tolist() == [m for m in around["md5"] if m != item["md5"]]


def test_decisions_reach_the_removal_table_and_the_standing_file(reviewed: Review) -> None:
    items = reviewed.items
    first, last = items.iloc[0], items.iloc[-1]
    before = pd.read_parquet(reviewed.run.path / "removals.parquet")
    reviewed.decide(first["md5"], keep=True, reviewer="Ada", note="a shadow")
    reviewed.decide(last["md5"], keep=False, reviewer="Grace")
    table = pd.read_parquet(reviewed.run.path / "removals.parquet").set_index("md5")
    assert table.loc[first["md5"], ["decision", "reviewer", "note"]].tolist() == ["kept_by_review", "Ada", "a shadow"]
    assert table.loc[last["md5"], ["decision", "reviewer"]].tolist() == ["removed_by_review", "Grace"]
    assert len(table) == len(before) + 1
    assert reviewed.contradictions()["md5"].tolist() == sorted([first["md5"], last["md5"]])
    assert len(read_events(Path("decisions.csv"))) == 2
    assert reviewed.decisions()[last["md5"]]["note"] is None
    reviewed.approve("Grace")
    approval = reviewed.approved()
    assert approval is not None
    assert (approval["reviewer"], approval["note"]) == ("Grace", None)
    for md5, reviewer in ((first["md5"], "Ada"), (last["md5"], "Grace")):
        reviewed.withdraw(md5, reviewer)
    after = pd.read_parquet(reviewed.run.path / "removals.parquet")
    pd.testing.assert_frame_equal(after, before)
    assert reviewed.contradictions().empty
    with pytest.raises(InputError, match="expected an image of this run"):
        reviewed.decide("f" * 32, keep=True, reviewer="Ada")


def test_later_runs_keep_what_was_kept_and_leave_out_what_was_removed(
    reviewed: Review, plant: Path, prefect_api: str
) -> None:
    removed = reviewed.items[reviewed.items["kind"] == "removed"].iloc[0]
    borderline = reviewed.items[reviewed.items["kind"] == "borderline"].iloc[0]
    reviewed.decide(removed["md5"], keep=True, reviewer="Ada")
    reviewed.decide(borderline["md5"], keep=False, reviewer="Grace", note="scratched")
    again = refine_in(Path.cwd(), plant)
    assert again.name != reviewed.run.run_id
    scores = pd.read_parquet(again / "scores.parquet")
    kept = scores[scores["md5"] == removed["md5"]]
    assert kept["iteration"].tolist() == sorted(scores["iteration"].unique())
    assert borderline["md5"] not in set(scores["md5"])
    table = pd.read_parquet(again / "removals.parquet")
    spared = table[table["md5"] == removed["md5"]]
    assert set(spared["decision"]) == {"kept_by_review"}
    assert (spared["score"] > spared["threshold"]).all()
    assert set(spared["reviewer"]) == {"Ada"}
    (out,) = table[table["md5"] == borderline["md5"]].to_dict("records")
    assert (out["iteration"], out["decision"], out["reviewer"], out["note"]) == (
        0,
        "removed_by_review",
        "Grace",
        "scratched",
    )
    assert pd.isna(out["score"])
    summary = json.loads((again / "summary.json").read_text())
    assert summary["n_removed"] == 30 - len(scores[scores["iteration"] == scores["iteration"].max()])
    # The next review of that run knows of both.
    kinds = Review(RunDirectory(again)).items.set_index("md5")["kind"]
    assert kinds[removed["md5"]] == "kept_by_review"
    assert kinds[borderline["md5"]] == "removed_by_review"
    from irp_core.params_file import load_params
    from tasks.audit.verify import verify

    findings = verify(again.name, load_params(None, [f"tracking.uri={store_of(Path.cwd())}"]))
    assert [finding for finding in findings if finding.status == "failed"] == []


def post(server: ReviewServer, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(
        server.url + path, content=json.dumps(body), headers={"content-type": "application/json"} | headers
    )


def test_nobody_from_elsewhere_reads_or_writes(server: ReviewServer, reviewed: Review) -> None:
    md5 = reviewed.items.iloc[0]["md5"]
    decision = {"md5": md5, "decision": "keep", "reviewer": "Mallory"}
    base = f"http://127.0.0.1:{server.port}"
    assert len(server.token) >= 32
    assert httpx.get(f"{base}/").status_code == 404
    assert httpx.get(f"{base}/guess/items").status_code == 404
    assert httpx.get(f"{base}/docs").status_code == httpx.get(f"{base}/openapi.json").status_code == 404
    # DNS rebinding: a name of the attacker's that points here.
    assert httpx.get(server.url, headers={"host": "evil.example"}).status_code == 400
    assert post(server, "decision", decision, origin="http://evil.example").status_code == 403
    form = httpx.post(server.url + "decision", content=json.dumps(decision), headers={"content-type": "text/plain"})
    assert form.status_code == 403
    assert reviewed.run.reviews().empty
    page = httpx.get(server.url)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in page.headers
    # Only the loopback interface listens.
    connection = http.client.HTTPConnection("127.0.0.2", server.port, timeout=2)
    with pytest.raises(OSError, match=r"refused|timed out"):
        connection.connect()


def test_wrong_entries_are_refused_and_nothing_is_written(server: ReviewServer, reviewed: Review) -> None:
    md5 = reviewed.items.iloc[0]["md5"]
    for body in (
        {"md5": md5, "decision": "keep", "reviewer": " "},
        {"md5": md5, "decision": "burn", "reviewer": "Ada"},
        {"md5": "../../etc", "decision": "keep", "reviewer": "Ada"},
        {"md5": md5, "decision": "keep", "reviewer": "Ada", "more": 1},
    ):
        assert post(server, "decision", body).status_code == 422
    assert post(server, "decision", {"md5": "f" * 32, "decision": "keep", "reviewer": "Ada"}).status_code == 400
    assert post(server, "undo", {"reviewer": "Ada"}).status_code == 409
    assert httpx.get(f"{server.url}image/{'f' * 32}/small").status_code == 404
    photo, seen = (httpx.get(f"{server.url}image/{md5}/{size}") for size in ("large", "map"))
    assert (photo.headers["content-type"], seen.headers["content-type"]) == ("image/jpeg", "image/jpeg")
    assert photo.content != seen.content
    assert httpx.get(f"{server.url}image/{'f' * 32}/map").status_code == 404
    assert reviewed.run.reviews().empty


def test_undo_goes_back_to_the_decision_before(server: ReviewServer, reviewed: Review) -> None:
    md5 = reviewed.items.iloc[0]["md5"]
    for decision in ("keep", "remove"):
        assert post(server, "decision", {"md5": md5, "decision": decision, "reviewer": "Ada"}).status_code == 200
    assert post(server, "undo", {"reviewer": "Ada"}).json()["md5"] == md5
    assert reviewed.decisions()[md5]["decision"] == "kept_by_review"
    post(server, "undo", {"reviewer": "Ada"})
    assert reviewed.decisions() == {}
    assert len(reviewed.run.reviews()) == 4  # the log forgets nothing


def test_undo_takes_back_ones_own_decision_and_leaves_the_others(server: ReviewServer, reviewed: Review) -> None:
    first, second = reviewed.items["md5"].iloc[:2]

    def decide(md5: str, decision: str, reviewer: str) -> None:
        body = {"md5": md5, "decision": decision, "reviewer": reviewer}
        assert post(server, "decision", body).status_code == 200

    decide(first, "keep", "Ada")
    kept = reviewed.decisions()[first]
    decide(first, "remove", "Grace")
    decide(second, "keep", "Grace")
    refused = post(server, "undo", {"reviewer": "Ada"})
    assert (refused.status_code, refused.json()["detail"]) == (409, "Grace has decided about this image since")
    assert post(server, "undo", {"reviewer": "Ada"}).json()["detail"] == "there is nothing of Ada's to undo"
    assert {row["reviewer"] for row in reviewed.decisions().values()} == {"Grace"}
    for _ in range(2):
        assert post(server, "undo", {"reviewer": "Grace"}).status_code == 200
    # What Ada said stands as she said it, then; nobody said it again in her name.
    assert reviewed.decisions() == {first: kept}
    events = reviewed.run.reviews()
    assert events["reviewer"].tolist() == ["Ada", "Grace", "Grace", "Grace", "Grace"]
    assert events["decision"].tolist()[3:] == ["withdrawn", "withdrawn"]


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
def test_three_decisions_by_keyboard(server: ReviewServer, reviewed: Review, plant: Path, prefect_api: str) -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,860"),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(str(DRIVER))) as browser:
        browser.get(server.url)
        wait = WebDriverWait(browser, 20)
        items = reviewed.items.to_dict("records")
        wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "#list button")) == len(items))

        def press(keys: str, decided: int) -> None:
            ActionChains(browser).send_keys(keys).perform()
            wait.until(lambda page: page.find_element(By.ID, "count").text.startswith(f"{decided} of {len(items)}"))

        press("k", 1)
        press("r", 2)
        press("u", 1)
        press("r", 2)
        # Another kind of image, by the filter; the page is then on its first one.
        ActionChains(browser).send_keys("fff").perform()
        borderline = next(item for item in items if item["kind"] == "borderline")
        wait.until(lambda page: page.find_element(By.ID, "name").text == borderline["image_id"])
        press("r", 3)
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
        shown = browser.find_element(By.ID, "picture")
        wait.until(lambda page: page.execute_script("return arguments[0].naturalWidth", shown) > 0)
        browser.find_element(By.ID, "finish").click()
        wait.until(lambda page: "Finished" in page.find_element(By.TAG_NAME, "body").text)
    decisions = {md5: row["decision"] for md5, row in reviewed.decisions().items()}
    assert decisions == {
        items[0]["md5"]: "kept_by_review",
        items[1]["md5"]: "removed_by_review",
        borderline["md5"]: "removed_by_review",
    }
    table = pd.read_parquet(reviewed.run.path / "removals.parquet").set_index("md5")
    assert {md5: table.loc[md5, "decision"] for md5 in decisions} == decisions
    assert set(table.loc[list(decisions), "reviewer"]) == {"Ada"}
    scores = pd.read_parquet(refine_in(Path.cwd(), plant) / "scores.parquet")
    last = set(scores.loc[scores["iteration"] == scores["iteration"].max(), "md5"])
    assert items[0]["md5"] in last
    assert not {items[1]["md5"], borderline["md5"]} & set(scores["md5"])
