"""The comparison's page: complete, self-contained, and as wide as a telephone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irp_core.config.lines import PromotionPolicy
from irp_core.promotion import Comparison, compare
from tasks.reports.comparison_page import write_comparison_page
from tests.irp_core.promotion.evidence import evidence


def compared() -> Comparison:
    before, after = np.zeros(400), np.zeros(400)
    before[0], after[1:4] = 9.0, 9.0
    return compare(evidence("line3/6", scores=before), evidence("line3/7", scores=after), PromotionPolicy())


@pytest.fixture
def page(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 48), (90, 120, 150)).save(tmp_path / "plate.png")
    return write_comparison_page(
        compared(),
        tmp_path / "deep" / "comparison.html",
        line="line<3>",
        find=lambda image_id, md5: tmp_path / "plate.png" if image_id == "line/0000.png" else None,
        overlays={"line/0000.png": Image.new("RGB", (64, 48), (200, 120, 150))},
        facts={"run": "line3-careful-0123abcd"},
        commands=("irp promote line3/7 --by NAME --why TEXT", "irp reject line3/7 --by NAME --why TEXT"),
    )


def test_the_page_tells_verdict_checks_flips_and_commands(page: Path) -> None:
    found, text = compared(), page.read_text(encoding="utf-8")
    assert "A person decides" in text
    for sentence in found.checks["sentence"]:
        assert sentence.replace("'", "&#39;") in text
    assert [text.count(f"<b>{change}</b>") for change in ("now an alarm", "no longer an alarm")] == [3, 1]
    assert text.count("data:image/jpeg;base64,") == 2  # an image, and its map
    assert text.count('<figure class="new-alarm mapped">') + text.count('<figure class="gone-quiet mapped">') == 1
    assert text.count("image not found") == 3
    assert "irp promote line3/7" in text
    assert "line<3>" not in text  # escaped
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    assert not list(page.parent.glob(".*"))


def test_without_a_champion_there_is_nothing_to_differ_from(tmp_path: Path) -> None:
    page = write_comparison_page(
        compare(None, evidence(), PromotionPolicy()), tmp_path / "page.html", line="a", find=lambda *_: None
    )
    assert "no champion to differ from" in page.read_text(encoding="utf-8")


@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="Chromium is not installed")
def test_no_width_makes_it_scroll_sideways(page: Path) -> None:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        for width in (400, 1280):
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700},
            )
            browser.get(page.as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            overlay = browser.find_element("css selector", "img.map")
            for key_pressed in (True, False):  # one key shows the maps and hides them again
                browser.find_element("tag name", "body").send_keys("m")
                assert overlay.is_displayed() is key_pressed
                assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.quit()
