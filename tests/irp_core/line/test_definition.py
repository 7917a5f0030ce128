"""Lines are defined in files of their own; mistakes in them are explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from irp_core.config.lines import Inbox, Line, Monitoring, PromotionPolicy
from irp_core.errors import InputError
from irp_core.line.definition import line_names, line_params, load_line, write_line

ROOT = Path(__file__).parents[3]
LINE = Line(
    name="line3",
    inbox="s3://plant/line3",
    golden="golden/line3",
    cron="0 2 * * *",
    taking=Inbox(max_age=3600, options={"endpoint_url": "http://127.0.0.1:9000"}),
    promotion=PromotionPolicy(mode="golden"),
    params={"images": {"size": 128}},
)


def test_a_line_that_is_written_is_read_again(tmp_path: Path) -> None:
    file = write_line(LINE, tmp_path)
    assert file == tmp_path / "params/lines/line3.yaml"
    assert load_line("line3", tmp_path) == LINE
    assert line_names(tmp_path) == ["line3"]
    assert "min_new" not in file.read_text()  # what is not said keeps following the defaults


def test_a_line_trains_with_its_own_parameters_on_top_of_the_projects(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("images: {size: 512}\nviews: {train: 2}\n")
    params = line_params(LINE, tmp_path)
    assert (params.images.size, params.views.train) == (128, 2)
    assert params.tracking.registered_model == "line3"
    assert params.dataset.layout == "folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inbox: in\nmin_knew: 3", "unknown key 'min_knew'; did you mean 'min_new'?"),
        ("inbox: in\npromotion: {moed: always}", "did you mean 'mode'?"),
        ("inbox: in\nmin_new: 0", "min_new must be greater than or equal to 1. Got 0."),
        ("inbox: in\ncron: every night", 'cron must be five fields as cron writes them, for example "0 2 * * *"'),
        ("inbox: in\ncron: 0 25 * * *", "cron must be five fields as cron writes them"),
        ("inbox: in\ncron: 0 2 31 2 *", "Got '0 2 31 2 *' (Bad day-of-month)."),
        ("inbox: in\nmonitoring: {cron: '* * * *'}", "monitoring.cron must be five fields as cron writes them"),
        ("inbox: in\ntimezone: Mars/North", "timezone must be a time zone"),
        ("inbox: in\npromotion: {mode: golden}", "golden must name a folder where promotion.mode is golden"),
        ("inbox: in\nname: line4", "name must be that of the file, 'line3'. Got 'line4'."),
        ("inbox: in\nparams: {images: {sise: 3}}", "unknown key 'images.sise'; did you mean 'size'?"),
        ("inbox: in\nparams: {review: {required: true}}", "review.required must be False for a line. Got True."),
        ("- inbox", "expected keys with values, found list."),
        ("min_new: 3", "inbox"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "params/lines").mkdir(parents=True)
    (tmp_path / "params/lines/line3.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_line("line3", tmp_path)
    assert message in str(caught.value) and "line3.yaml" in str(caught.value)


def test_a_line_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    write_line(LINE, tmp_path)
    with pytest.raises(InputError, match="did you mean 'line3'"):
        load_line("lin3", tmp_path)
    with pytest.raises(InputError, match="expected a line's name"):
        load_line("../line3", tmp_path)


def test_the_page_names_every_setting_with_its_default() -> None:
    rows: dict[str, str] = {}
    for row in (ROOT / "docs" / "retraining.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if row.startswith("| `") and len(cells) == 3:
            keys, defaults = [re.findall(r"`([^`]+)`", cells[0]), [part.strip() for part in cells[1].split(",")]]
            rows |= dict(zip(keys, defaults * (len(keys) if len(defaults) == 1 else 1), strict=True))
    for name, field in Line.model_fields.items():
        if name == "name":
            continue
        nested = {"taking": Inbox, "promotion": PromotionPolicy, "monitoring": Monitoring}.get(name)
        fields = {f"{name}.{key}": inner for key, inner in nested.model_fields.items()} if nested else {name: field}
        for key, known in fields.items():
            if known.is_required():
                assert rows[key] == ""
            elif key != "branch":  # its default names the line
                assert yaml.safe_load(rows[key]) == known.default, key
