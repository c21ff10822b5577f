"""A small Sphinx extension: docstrings of the package are plain text, shown as they are written."""

import re
from itertools import groupby
from typing import Any

# what reStructuredText would read as markup; single backquotes are kept, and shown as code
_MARKUP = re.compile(r"([\\*|]|(?<=\w)_(?=\W|$))")


def plain(lines: list[str]) -> list[str]:
    """The lines as reStructuredText that shows them unchanged; paragraphs with indented lines keep their columns."""
    found: list[str] = []
    for blank, group in groupby(lines, key=lambda line: not line.strip()):
        paragraph = list(group)
        if blank:
            found.append("")
        elif any(line.startswith(" ") for line in paragraph):
            found += ["::", "", *(f"    {line}" for line in paragraph)]
        else:
            found += [re.sub(r"`+([^`]+)`+", r"``\1``", _MARKUP.sub(r"\\\1", line)) for line in paragraph]
    return found


def _process(_app: Any, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    # a backslash inside code is shown, so the markup there is put back
    lines[:] = [re.sub(r"``([^`]+)``", lambda m: re.sub(r"\\([\\*|_])", r"\1", m[0]), line) for line in plain(lines)]


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
