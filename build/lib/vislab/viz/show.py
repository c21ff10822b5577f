"""Putting HTML, with its plain text beside it, on the notebook's page."""

import sys
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def show(html: str, plain: str, section: Mapping[str, Any] | None = None, kind: str = "text/html") -> None:
    """Display `html` in a notebook, print `plain` outside one.

    `section` marks the output, so that the book's build can render it again from the published records.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(plain)
        return
    metadata = {"vislab": dict(section)} if section else {}
    shell.display_pub.publish({kind: html, "text/plain": plain}, metadata)


def table_html(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str | None = None, name: str = "vislab-table"
) -> str:
    """An HTML table that scrolls sideways in a narrow window; a cell that is `Raw` is taken as HTML."""
    head = "".join(f'<th scope="col">{_cell(c)}</th>' for c in columns)
    body = "".join("<tr>" + "".join(f"<td{_align(c)}>{_cell(c)}</td>" for c in row) + "</tr>\n" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="vislab-scroll" tabindex="0" role="region" aria-label="{escape(caption or "table")}">'
        f'<table class="{name}">{title}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def table_text(columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str | None = None) -> str:
    """The same table in columns of plain text."""
    lines = [[_text(c) for c in line] for line in (columns, *rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(columns))]
    texts = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(([caption] if caption else []) + texts)


class Raw(str):
    """A table cell that is HTML already; `plain` is what a terminal gets."""

    plain: str = ""

    def __new__(cls, html: str, plain: str) -> "Raw":
        made = super().__new__(cls, html)
        made.plain = plain
        return made


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, Raw) else escape(_text(value))


def _align(value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return ' class="vislab-number"' if number else ""


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return value.plain
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
