"""What an auditor sees in the terminal."""

from __future__ import annotations

import pytest
from rich.console import Console

from flows.terminal.audit import _cell
from irp_core.audit.history import REMOVED_THEN_KEPT, TRAINED_ON_THEN_REMOVED


def test_what_a_later_review_says_has_the_reviews_colour(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(force_terminal=True, width=100)
    for text, colour in ((REMOVED_THEN_KEPT, "32"), (TRAINED_ON_THEN_REMOVED, "31"), ("removed", "31")):
        console.print(_cell(text))
        assert f"\x1b[{colour}m{text.replace('_', ' ')}" in capsys.readouterr().out
    assert _cell("see later kept_by_review") == "see later kept_by_review"  # a note is no decision
