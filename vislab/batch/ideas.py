"""The map of ideas: which papers are built on which worlds and blocks, read from the imports of their rooms."""

import ast
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from vislab import registry
from vislab.cards import PARTS
from vislab.engine.code import imports
from vislab.viz.show import Raw, table_html

ROOT = Path(__file__).resolve().parents[1]
KINDS = {
    "worlds": "Worlds", "ops": "Tensor functions", "nn": "Building blocks", "engine": "Training and evaluation", "zoo": "Zoo",
}  # fmt: skip
HOUSE = {
    "worlds.base", "ops.counter", "engine.fit", "engine.measure", "engine.outcome", "engine.weights", "engine.metrics",
    "engine.device", "engine.records", "engine.files", "engine.collect", "zoo.base",
}  # fmt: skip
"""What every room uses, and says nothing about its paper."""
ROW, HEAD, LEFT, RIGHT, WIDTH = 22, 26, 250, 560, 800


def pieces(slug: str) -> frozenset[str]:
    """What a room imports from the floors below it, such as "nn.vit"; a world counts as one, whatever is taken from it."""
    found = set()
    for path in registry.room(slug).glob("*.py"):
        for module in imports(path):
            name = ".".join(module.split(".")[1:3])
            if name.split(".")[0] in KINDS and "." in name and name not in HOUSE:
                found.add(name)
    return frozenset(found)


def says(piece: str) -> str:
    """The first sentence of a module's own description."""
    base = ROOT.joinpath(*piece.split("."))
    path = next(p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists())
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")


def users(slugs: Sequence[str]) -> dict[str, list[str]]:
    """{piece: the papers that use it}, floor by floor; within a floor by where its papers stand in the book."""
    found: dict[str, list[str]] = {}
    for slug in slugs:
        for piece in pieces(slug):
            found.setdefault(piece, []).append(slug)
    place = {slug: k for k, slug in enumerate(slugs)}

    def order(piece: str) -> tuple[int, float, str]:
        papers = found[piece]
        middle = sum(place[s] for s in papers) / len(papers)
        return list(KINDS).index(piece.split(".")[0]), middle, piece

    return {piece: found[piece] for piece in sorted(found, key=order)}


def drawn(slugs: Sequence[str], up: str) -> str:
    """The map as a picture whose nodes are links, and the same as a table."""
    slugs = [s for part in PARTS for s in slugs if registry.places()[s] == part]
    found = users(slugs)
    return _picture(slugs, found, up) + _table(found, up)


def _rows(groups: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], list[tuple[str, int]], int]:
    """Heights of nodes and of their groups' headings, and the height of the column."""
    places, heads, y = {}, [], 4
    for title, members in groups.items():
        if members:
            heads.append((title, y + 16))
            y += HEAD
            for name in members:
                places[name] = y + ROW // 2
                y += ROW
            y += 8
    return places, heads, y


def _picture(slugs: Sequence[str], found: Mapping[str, Sequence[str]], up: str) -> str:
    where = registry.places()
    left, left_heads, left_end = _rows({PARTS[p]: [s for s in slugs if where[s] == p] for p in PARTS})
    right, right_heads, right_end = _rows({KINDS[k]: [n for n in found if n.startswith(f"{k}.")] for k in KINDS})
    height = max(left_end, right_end)
    lines, nodes = [], []
    middle = (LEFT + RIGHT) / 2
    for piece, papers in found.items():
        for slug in papers:
            a, b = left[slug], right[piece]
            lines.append(
                f'<path data-from="{slug}" data-to="{piece}" d="M{LEFT} {a}C{middle} {a} {middle} {b} {RIGHT} {b}"/>'
            )
    for x, anchor, heads in ((LEFT - 12, "end", left_heads), (RIGHT + 12, "start", right_heads)):
        nodes += [
            f'<text class="vislab-head" x="{x}" y="{y}" text-anchor="{anchor}">{escape(t)}</text>' for t, y in heads
        ]
    for slug, y in left.items():
        title = registry.card(slug).title
        nodes.append(_node(slug, slug, title, f"{up}book/{where[slug]}/{slug}.html", LEFT - 12, y, "end"))
        nodes.append(f'<circle data-node="{slug}" cx="{LEFT}" cy="{y}" r="4"/>')
    for piece, y in right.items():
        nodes.append(_node(piece, _name(piece), says(piece), f"#{_anchor(piece)}", RIGHT + 12, y, "start"))
        nodes.append(f'<circle data-node="{piece}" cx="{RIGHT}" cy="{y}" r="{2 + min(6, len(found[piece]))}"/>')
    return (
        '<div class="vislab-scroll" tabindex="0" role="region" aria-label="Map of ideas">'
        f'<svg class="vislab-map" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="group" '
        f'aria-label="Papers at the left, what they are built on at the right">'
        f'<g class="vislab-lines">{"".join(lines)}</g>{"".join(nodes)}</svg></div>'
    )


def _node(name: str, text: str, title: str, link: str, x: int, y: int, anchor: str) -> str:
    return (
        f'<a href="{link}" data-node="{name}" aria-label="{escape(text)}: {escape(title)}"><title>{escape(title)}</title>'
        f'<text x="{x}" y="{y + 4}" text-anchor="{anchor}">{escape(text)}</text></a>'
    )


def _name(piece: str) -> str:
    return piece.split(".")[1].replace("_", " ")


def _anchor(piece: str) -> str:
    return f"piece-{piece.replace('.', '-').replace('_', '-')}"


def _table(found: Mapping[str, Sequence[str]], up: str) -> str:
    rows = []
    for piece, papers in found.items():
        links = ", ".join(f'<a href="{up}book/{registry.places()[s]}/{s}.html">{s}</a>' for s in papers)
        name = f'<code id="{_anchor(piece)}">vislab.{piece}</code>'
        rows.append([Raw(name, piece), says(piece), Raw(links, ", ".join(papers))])
    return table_html(["module", "what it is", "papers"], rows, "Shared pieces and the papers built on them")
