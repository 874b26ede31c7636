"""HTML pages that need nothing beside them: the frame, the tables and the figures that all of them share."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.2rem .9rem .2rem 0;text-align:left;
border-bottom:1px solid #e3e7ec;font-variant-numeric:tabular-nums}figure{display:inline-block;margin:0 1rem 1rem 0}
figcaption,.note{font-size:13px;color:#5a6675;max-width:29rem}svg{max-width:29rem;height:auto}.pass,.good{color:#17803d}
.fail,.paused,.bad{color:#b42318}.undecided{color:#8a6100}
"""


class Markup(str):
    """A cell that is HTML already."""

    __slots__ = ()


def page(title: str, *parts: str) -> str:
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width,initial-scale=1'>"
    head += f"<title>{escape(title)}</title><style>{STYLE}</style>"
    body = f"<h1>{escape(title)}</h1>{''.join(parts)}"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>\n"


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    >>> grid(["a"], [["<1"], [Markup("<b>2</b>")]])
    '<table><tr><th>a</th></tr><tr><td>&lt;1</td></tr><tr><td><b>2</b></td></tr></table>'
    """
    lines = [_row("th", columns), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def listing(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and what they are."""
    lines = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{''.join(lines)}</table>"


def marked(text: str, kind: str) -> Markup:
    """In the colour of a class of `STYLE`."""
    return Markup(f'<span class="{kind}">{escape(text)}</span>')


def figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _row(tag: str, cells: Iterable[str]) -> str:
    inside = (cell if isinstance(cell, Markup) else escape(cell) for cell in cells)
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in inside)}</tr>"
