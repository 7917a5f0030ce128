"""The git commit of a run: noted, or said why it is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.versions.lineage import code_tags

COMMIT = "mlflow.source.git.commit"


def test_a_repository_of_another_owner_loses_the_commit_with_a_word(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "begin"], check=True)
    code_tags.cache_clear()
    assert len(code_tags()[COMMIT]) == 40
    assert caplog.text == ""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    code_tags.cache_clear()
    assert COMMIT not in code_tags()
    assert caplog.text.count("the git commit is not noted") == 1
    assert f"safe.directory {workspace}" in caplog.text
    code_tags.cache_clear()


def test_without_a_repository_there_is_nothing_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    code_tags.cache_clear()
    assert COMMIT not in code_tags()
    assert caplog.text == ""
    code_tags.cache_clear()
