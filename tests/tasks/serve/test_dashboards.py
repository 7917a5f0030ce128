"""Grafana's dashboard and Prometheus' alerts name metrics that the service has, in files that both would read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.monitoring.now import Now, write_now
from tasks.serve.line import LINE_FIGURES, line_figures, line_of
from tasks.serve.metrics import Metrics

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD, ALERTS = DEPLOY / "grafana" / "irp.json", DEPLOY / "prometheus" / "alerts.yml"
OF_PROMETHEUS = {"up"}


def names() -> set[str]:
    """Every series that /metrics may have."""
    found: set[str] = set()
    for family in text_string_to_metric_families(Metrics().text().decode()):
        if family.name.endswith("_created"):  # when a histogram was made: of no use to anybody
            continue
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found |= {family.name + ending for ending in endings}
    return found


def expressions() -> Iterator[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard["templating"]["list"]:
        yield from [variable["query"]] if variable["type"] == "query" else []
    yield from (rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"])


def test_every_metric_that_is_named_is_served_and_every_metric_served_is_shown() -> None:
    named = {name for text in expressions() for name in re.findall(r"\b(?:irp_\w+|up)\b(?!=)", text)}
    assert named <= names() | OF_PROMETHEUS
    shown, served = ({re.sub(r"_(bucket|sum|count)$", "", name) for name in all_} for all_ in (named, names()))
    assert served <= shown


def test_the_rules_have_what_prometheus_asks_for() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Za-z]\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"].endswith((".", "?", "(busy)."))
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
        assert rule["expr"].count("(") == rule["expr"].count(")")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_do_not_overlap_and_have_an_id_each() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells


def test_a_line_is_described_where_its_project_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert line_of("line3@champion") is None and line_figures("line3") == {}
    (tmp_path / "params" / "lines").mkdir(parents=True)
    (tmp_path / "params" / "lines" / "line3.yaml").write_text("inbox: in\n")
    assert [line_of(name) for name in ("line3@champion", "line3/7", "line4@champion", "")] == [
        "line3", "line3", None, None,
    ]  # fmt: skip
    folder = LineFolder("line3").make()
    Ledger(folder.ledger)
    folder.monitoring.mkdir()
    write_now(folder.monitoring, Now("7", 5.0, 0))
    assert line_figures("line3") == {"irp_drift_checked_timestamp_seconds": 5.0, "irp_drift_windows": 0.0}
    write_now(folder.monitoring, Now("7", 6.0, 3, alarm=True, ks=0.4, alarm_share=0.2))
    metrics = Metrics()
    metrics.set_line("line3", line_figures("line3"))
    metrics.set_model("line3/7")
    text = metrics.text().decode()
    assert 'irp_drift_alarm{line="line3"} 1.0' in text and 'irp_drift_ks{line="line3"} 0.4' in text
    assert 'irp_model_version{model="line3"} 7.0' in text
    assert "irp_inbox_last_image_timestamp_seconds{" not in text  # none was taken in yet
    (folder.monitoring / "now.json").write_text("{")
    assert "irp_drift_alarm" not in line_figures("line3")
    assert set(LINE_FIGURES) <= names()
    metrics.set_model("runs/RUN/0")
    assert "irp_model_version{" not in metrics.text().decode()
