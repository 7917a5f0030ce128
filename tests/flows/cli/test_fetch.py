"""`irp fetch` as a person meets it: the licence first, one sentence where something is missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pooch
import pytest

from flows.cli.main import main
from tasks.fetch.sources import SOURCES
from tests.irp_core.data.test_layouts import kolektor
from tests.tasks.fetch.test_data_sets import zipped


def irp(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["irp", *arguments])
    try:
        main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_mvtec_shows_its_licence_and_waits_for_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert irp(monkeypatch, "fetch", "mvtec") == 2
    shown = capsys.readouterr()
    assert "Licence: CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)" in shown.out
    assert "No commercial use" in shown.out
    assert "irp fetch mvtec expects --accept-license" in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert irp(monkeypatch, "fetch", "visa") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.strip() == "irp: irp fetch expects one of ksdd2, mtd, mvtec. Got 'visa'."


def test_an_interrupted_fetch_says_so_and_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.fetch.data_sets.fetch", interrupted)
    assert irp(monkeypatch, "fetch", "ksdd2") == 130
    assert capsys.readouterr().err == "irp: Interrupted; the same command goes on where this one stopped.\n"


def test_from_an_archive_to_the_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    archive = tmp_path / "data" / "raw" / "KolektorSDD2.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(zipped(kolektor(tmp_path / "made")))
    known = pooch.file_hash(str(archive))
    monkeypatch.setitem(SOURCES, "ksdd2", replace(SOURCES["ksdd2"], urls=(), size=1, sha256=known))
    assert irp(monkeypatch, "fetch", "ksdd2") == 0
    shown = capsys.readouterr().out
    assert f"data/raw/ksdd2 is complete; sha256 {known} (the same in five independent projects' records" in shown
    assert "Cite: Božič, Tabernik, Skočaj" in shown
    assert "Next  irp refine data/raw/ksdd2\n" in shown
    assert irp(monkeypatch, "fetch", "ksdd2") == 0
    assert "data/raw/ksdd2 is there already; nothing was done." in capsys.readouterr().out
