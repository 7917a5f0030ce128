"""The environment of the libraries: threads that wait do not work, and no more of them than a container may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.runtime import environment


@pytest.mark.parametrize(
    ("name", "ours", "theirs"), [("OMP_WAIT_POLICY", "PASSIVE", "ACTIVE"), ("OPENBLAS_NUM_THREADS", "1", "2")]
)
def test_threads_wait_without_working_unless_the_user_says_otherwise(
    name: str, ours: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    environment.quiet()
    assert os.environ[name] == ours
    monkeypatch.setenv(name, theirs)
    environment.quiet()
    assert os.environ[name] == theirs


@pytest.mark.parametrize(
    ("written", "cores"),
    [("150000 100000\n", 2), ("10000 100000\n", 1), ("1600000 100000\n", None), ("max 100000\n", None), ("", None)],
)
def test_a_container_has_as_many_threads_as_it_may_use(
    written: str, cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    quota = tmp_path / "cpu.max"
    quota.write_text(written)
    assert environment._allowed_cores(quota) == cores
    assert environment._allowed_cores(tmp_path / "no such file") is None
