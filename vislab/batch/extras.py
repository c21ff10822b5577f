"""What the build adds to a chapter: downloads and launch buttons, links to the glossary, the paper's BibTeX entry."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOKS = "_static/notebooks"
PAGES_BRANCH = "gh-pages"
"""The branch of the repository from which the built pages are served, and from which Colab opens their notebooks."""
_BINDER, _COLAB = "https://mybinder.org/v2/gh", "https://colab.research.google.com/github"
_ENTRY = re.compile(r"^@\w+\{([^,]+),\n.*?^\}", re.MULTILINE | re.DOTALL)
_PROTECTED = re.compile(r"(\{[\w:-]+\}`[^`]*`|`[^`]*`|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\)|<[^>]+>|\*\*[^*]+\*\*)")


def downloads(notebook: "NotebookNode", slug: str, repository: str) -> dict[str, bytes]:
    """{path below the book: content}: the chapter as a notebook and as a plain script, without the build's own marks.

    With a repository, the notebook begins by installing the package from it.
    """
    import copy

    import jupytext
    import nbformat

    plain = copy.deepcopy(notebook)
    for cell in plain.cells:
        cell.metadata.pop("vislab", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    script = jupytext.writes(plain, fmt="py:percent")
    if repository:
        plain.cells.insert(0, nbformat.v4.new_code_cell(f'%pip install --quiet "vislab @ git+{repository}"'))
    book = jupytext.writes(plain, fmt="ipynb")
    return {f"book/{NOTEBOOKS}/{slug}.ipynb": book.encode(), f"book/{NOTEBOOKS}/{slug}.py": script.encode()}


def buttons(slug: str, part: str, repository: str, branch: str, api: bool) -> str:
    """Links below a chapter's takeaway: downloads; with a repository on GitHub, Colab and Binder; with `api`, the reference."""
    up = "../../"
    links = [
        (f"{up}{NOTEBOOKS}/{slug}.ipynb", "Download notebook", " download"),
        (f"{up}{NOTEBOOKS}/{slug}.py", "Download script", " download"),
    ]
    place = re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)(?:\.git)?/?", repository)
    if place:
        links += [
            (f"{_COLAB}/{place[1]}/blob/{PAGES_BRANCH}/{NOTEBOOKS}/{slug}.ipynb", "Open in Colab", ""),
            (f"{_BINDER}/{place[1]}/{branch}?urlpath=lab%2Ftree%2Fbook%2F{part}%2F{slug}.md", "Open in Binder", ""),
        ]
    if api:
        links.append((f"../api/papers_{part}.html#vislab-papers-{part}-{slug.replace('_', '-')}", "Code reference", ""))
    items = "".join(f'<a href="{escape(url)}"{extra}>{text}</a>' for url, text, extra in links)
    return f'```{{raw}} html\n<p class="vislab-links">{items}</p>\n```'


def entries(bibliography: str) -> dict[str, str]:
    """{key: entry} of a BibTeX file."""
    return {match[1]: match[0] for match in _ENTRY.finditer(bibliography)}


def citation(entry: str) -> str:
    """The paper's own entry, to be copied."""
    return f"To cite the paper:\n\n```bibtex\n{entry}\n```"


def terms(glossary: str) -> list[str]:
    """The terms that a glossary page defines: lines within its directive that begin without a space."""
    inside = re.search(r"```\{glossary\}\n(.*?)^```", glossary, re.MULTILINE | re.DOTALL)
    return [line for line in (inside[1].splitlines() if inside else []) if line and not line[0].isspace()]


def linked(texts: Iterable[str], known: Iterable[str]) -> list[str]:
    """`texts` of a chapter with the first mention of each known term as a link to the glossary.

    Only running text is looked at: no headings, directives, tables, equations, code, links or strong text.
    """
    left = {term.lower(): term for term in known}
    found, fence, equation = [], "", False
    for text in texts:
        lines = []
        for line in text.split("\n"):
            mark = re.match(r"\s*(`{3,}|~{3,}|:{3,})", line)
            if mark and (not fence or line.strip().startswith(fence)):
                fence = "" if fence else mark[1]
            elif not fence and line.startswith("$$"):
                equation = not (equation or line.count("$$") == 2)
            elif left and not fence and not equation and line.strip() and line[0] not in "#%:|(":
                line = _linked(line, left)
            lines.append(line)
        found.append("\n".join(lines))
    return found


def _linked(line: str, left: dict[str, str]) -> str:
    pieces = _PROTECTED.split(line)
    for k in range(0, len(pieces), 2):
        # longer terms first: "vision transformer" before "transformer"
        words = "|".join(re.escape(t) for t in sorted(left, key=len, reverse=True))
        if not words:
            break
        place = re.search(rf"\b({words})(?:s|es)?\b", pieces[k], re.IGNORECASE)
        if place:
            term = left.pop(place[1].lower())
            pieces[k] = f"{pieces[k][: place.start()]}{{term}}`{place[0]} <{term}>`{pieces[k][place.end() :]}"
    return "".join(pieces)


def add(
    notebook: "NotebookNode",
    slug: str,
    part: str,
    config: Mapping[str, Any],
    entry: str | None,
    known: list[str],
    api: bool,
) -> None:
    """Put all of this into the rendered copy of a chapter, in its text cells alone."""
    repository = config.get("repository") or {}
    texts = [c for c in notebook.cells if c.cell_type == "markdown"]
    for cell, text in zip(texts, linked([c.source for c in texts], known), strict=True):
        cell.source = text
    row = buttons(slug, part, repository.get("url") or "", repository.get("branch") or "main", api)
    texts[0].source = f"{texts[0].source}\n\n{row}"
    if entry is not None:
        texts[-1].source = f"{texts[-1].source}\n\n{citation(entry)}"
