"""An HTML page that needs nothing else, and that is read on a telephone as well as on a desk."""

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from neonext_ms.terminal import printable

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem; color: #222;
  overflow-wrap: anywhere }}
h1 {{ font-size: 1.15rem; color: #555; font-weight: normal }}
h2 {{ font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ccc }}
.headline {{ font-size: 1.7rem; line-height: 1.25; font-weight: bold; margin: .5rem 0 }}
.wide {{ overflow-x: auto; margin-top: .6rem }} table {{ border-collapse: collapse; font-size: .88rem }}
td, th {{ padding: .1rem .9rem .1rem 0; text-align: left; vertical-align: top }}
.panels {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: .5rem }}
.panel, .plot {{ width: 100%; max-width: 40rem }} .columns {{ columns: 2 20rem }}
.mistakes {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem }}
figure {{ margin: 0; font-size: .8rem }}
figure img {{ width: 100%; height: 9rem; object-fit: contain; image-rendering: pixelated; background: #eee }}
.heat td, .heat th {{ padding: .15rem .3rem; min-width: 1rem; text-align: right; font-size: .8rem;
  overflow-wrap: normal }}
.heat thead th {{ writing-mode: vertical-rl; transform: rotate(180deg); text-align: left }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def page(title: str, headline: str, sections: Iterable[str]) -> str:
    """A whole page; headline and sections are HTML."""
    return _PAGE.format(title=text(title), body="\n".join((headline, *sections)))


def section(heading: str, body: str) -> str:
    """A heading and what stands below it, as HTML."""
    return f"<h2>{heading}</h2>{body}"


def text(value: str) -> str:
    """Text of others as HTML, and as one line."""
    return escape(printable(value, keep_bytes=False))


def picture(png: bytes, css: str, what: str) -> str:
    """A picture inside the page."""
    return f'<img class="{css}" alt="{what}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def facts(values: Iterable[tuple[str, object]]) -> str:
    """Names and values, in two columns where there is room; cells as in `table`."""
    return f'<div class="columns"><table>{"".join(map(_row, values))}</table></div>'


def table(rows: Iterable[Sequence], heads: Sequence[str] = ()) -> str:
    """Rows of cells; numbers are rounded to what a reader takes in, other values are shown as JSON, text as it is."""
    head = f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>" if heads else ""
    return f'<div class="wide"><table>{head}{"".join(map(_row, rows))}</table></div>'


def _row(cells: Sequence) -> str:
    return f"<tr>{''.join(f'<td>{text(_cell(cell))}</td>' for cell in cells)}</tr>"


def _cell(value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1e4:
        return f"{value:,}"
    return json.dumps(value)


def heat_table(matrix: np.ndarray, names: Sequence[str]) -> str:
    """Counts with a colour for their share of the row."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    heads = "".join(f"<th>{text(name)}</th>" for name in names)
    lines = []
    for name, counts, row in zip(names, matrix.tolist(), shares.tolist()):
        cells = "".join(
            f'<td style="background: rgb({255 - 200 * share:.0f}, {255 - 140 * share:.0f}, {255 - 60 * share:.0f})'
            f'{"; color: #fff" if share > 0.6 else ""}">{count or ""}</td>'
            for count, share in zip(counts, row)
        )
        lines.append(f"<tr><th>{text(name)}</th>{cells}</tr>")
    return (
        f'<div class="wide"><table class="heat"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
