"""The report's page on a telephone."""

import re
import shutil
import subprocess
from html import escape

import numpy as np
import pytest

from neonext_ms.analysis import page
from neonext_ms.analysis.pictures import to_png

WIDTH = 390  # pixels of a usual telephone
NAMES = ["a_class_with_quite_a_long_name", *(f"class {i}" for i in range(1, 20))]
# A browser without a window is 500 pixels wide or more; a frame in it has any width.
_FRAME = """<iframe id="frame" width="{width}" height="900" style="border: 0" srcdoc="{page}"></iframe><script>
onload = () => {{
  const all = (names) => [...frame.contentDocument.querySelectorAll(names)];
  const right = all("img, p, h1, h2").map(e => e.getBoundingClientRect().right);
  const sizes = all("p, td, th").map(e => parseFloat(frame.contentWindow.getComputedStyle(e).fontSize));
  const widths = [frame.contentWindow.innerWidth, frame.contentDocument.documentElement.scrollWidth];
  document.title = [...widths, Math.max(...right), Math.min(...sizes)].join(" ");
}};
</script>"""


@pytest.fixture
def text():
    """A page with what widens one: a picture, a matrix of many classes, long names and a long path."""
    from matplotlib.figure import Figure

    sections = [
        page.section("Picture", page.picture(to_png(Figure(figsize=(9, 3)), 150), "plot", "a plot")),
        page.section("Matrix", page.heat_table(np.full((20, 20), 1234), NAMES)),
        page.section("Facts", page.facts([("data_dir", "/a" * 90), ("lr", 0.001)])),
        page.section("Pairs", page.table([(NAMES[0], NAMES[0], "12345")], ("class", "taken for", "images"))),
    ]
    return page.page("x" * 70, '<p class="headline">83.70 % of 1000 validation images are right</p>', sections)


def test_nothing_stands_out_at_390_pixels(text, tmp_path):
    """Measured by a browser where there is one; else by what holds a page together."""
    for table in re.finditer("<table", text):
        assert re.search(r'<div class="(wide|columns)">$', text[: table.start()]), "a table scrolls by itself"
    assert "overflow-x: auto" in text and "overflow-wrap: anywhere" in text and "width=device-width" in text
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return
    (tmp_path / "page.html").write_text(_FRAME.format(width=WIDTH, page=escape(text)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [browser, *options, str(tmp_path / "page.html")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    inner, scrolled, right, smallest = map(float, re.search("<title>(.*?)</title>", shown)[1].split())
    assert inner == WIDTH and scrolled <= WIDTH and right <= WIDTH and smallest >= 12
