"""What checks a commit is what `make check` checks."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_pre_commit_runs_what_make_check_runs() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\ncheck:")[1].split("\n\n")[0]
    checked = re.findall(r"\$\(BIN\)/(.*?)(?: \.)?$", recipe, flags=re.MULTILINE)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude") for hook in repository["hooks"]]
    assert hooks == checked
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}  # nothing is fetched
