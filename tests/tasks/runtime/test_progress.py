"""Progress in a log."""

from __future__ import annotations

import pytest

from tasks.runtime.progress import _lines, bar


def test_a_log_gets_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    advance = _lines("Extracting", clock=lambda: now[0])
    for second in range(1, 26):
        now[0] = float(second)
        advance(second, 100, "loss 0.1" if second > 15 else "")
    assert capsys.readouterr().err.splitlines() == [
        "Extracting: 10 of 100 after 10 s, about 90 s left",
        "Extracting: 20 of 100 after 20 s, about 80 s left (loss 0.1)",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.runtime.progress._quiet", True)
    monkeypatch.setattr("tasks.runtime.progress._EVERY", 0.0)
    with bar("Extracting") as advance:
        advance(1, 2)
    assert capsys.readouterr().err == ""
