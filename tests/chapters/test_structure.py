"""Every chapter has the same anatomy."""

import re

import jupytext
import pytest

from vislab import registry
from vislab.batch.book import ROOT

HEADINGS = [
    "The problem",
    "The idea",
    "The data",
    "The model",
    "Training",
    "Evaluation",
    "Look inside",
    "At the paper's scale",
    "Exercises",
    "How this differs from the paper",
    "References",
]
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
DRAWS = re.compile(r"\bviz\.(images|curves)\(|\bplt\.show\(")
RECORDS = re.compile(r"viz\.artifact|chapter\.(badges|results|verdicts)")

each = pytest.mark.parametrize("slug", registry.slugs())


def read(slug):
    path = ROOT / "book" / registry.places()[slug] / f"{slug}.md"
    assert path.exists(), f"{slug} has no chapter"
    return jupytext.read(path, fmt="md:myst")


def code_cells(slug):
    return [c for c in read(slug).cells if c.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def text(slug):
    """The prose with fenced blocks taken out."""
    prose = "\n".join(c.source for c in read(slug).cells if c.cell_type == "markdown")
    return re.sub(r"^(`{3,}|~{3,}).*?^\1[ \t]*$", "", prose, flags=re.MULTILINE | re.DOTALL)


def source(slug):
    return "\n".join(c.source for c in read(slug).cells if c.cell_type == "markdown")


@each
def test_headings_stand_in_order(slug):
    found = re.findall(r"^(#{1,2}) +(.+?)\s*$", text(slug), flags=re.MULTILINE)
    assert [level for level, _ in found].count("#") == 1 and found[0][0] == "#"
    assert [name.replace("’", "'") for level, name in found if level == "##"] == HEADINGS


@each
def test_the_first_cells_are_the_same_everywhere(slug):
    first, second = code_cells(slug)[:2]
    assert tags(first) >= {"parameters"}
    assert first.source.split("\n") == ['profile = "smoke"', "seed = 0", 'device = "auto"', "changes = {}"]
    assert [line for line in second.source.split("\n") if line] == [
        "from vislab import viz",
        f'chapter = viz.open("{slug}", profile, seed, device, changes)',
        "chapter.badges()",
    ]


@each
def test_tags(slug):
    cells = code_cells(slug)
    assert sum("parameters" in tags(c) for c in cells) == 1
    assert sum("thumbnail" in tags(c) for c in cells) == 1
    marked = [c for c in cells if "nbval-check-output" in tags(c)]
    assert marked, "no cell is marked nbval-check-output"
    for cell in marked:
        assert not RECORDS.search(cell.source), f"a marked cell reads records:\n{cell.source}"


@each
def test_one_widget(slug):
    assert sum(len(re.findall(r"\bviz\.sliders\(", c.source)) for c in code_cells(slug)) == 1


@each
def test_records_are_printed_by_the_chapters_own_sections(slug):
    together = "\n".join(c.source for c in code_cells(slug))
    for name in ("badges", "results", "verdicts", "scale"):
        assert together.count(f"chapter.{name}()") == 1, name


@each
def test_two_exercises_with_hidden_solutions(slug):
    prose = source(slug)
    exercises = re.findall(r"\{exercise(?:-start)?\}", prose)
    solutions = re.findall(r"\{solution(?:-start)?\}[^\n]*\n(?:[^\n]*\n)*?:class:[^\n]*dropdown", prose)
    assert len(exercises) >= 2
    assert len(solutions) == len(exercises)


@each
def test_figures_have_alt_and_caption(slug):
    for cell in code_cells(slug):
        if DRAWS.search(cell.source) and not HIDDEN & tags(cell) - {"hide-input"}:
            found = cell.metadata.get("mystnb", {})
            assert found.get("image", {}).get("alt"), f"no alt text:\n{cell.source}"
            assert found.get("figure", {}).get("caption"), f"no caption:\n{cell.source}"
            assert found["figure"].get("name", "").startswith(f"fig-{slug}-"), f"no name:\n{cell.source}"


@each
def test_visible_cells_are_short(slug):
    for cell in code_cells(slug):
        if not HIDDEN & tags(cell):
            assert len(cell.source.split("\n")) <= 12, f"{len(cell.source.split(chr(10)))} lines:\n{cell.source}"


@each
def test_the_paper_is_cited_and_references_are_listed(slug):
    prose = source(slug)
    assert "{bibliography}" in prose
    keys = {k.strip() for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", prose) for k in group.split(",")}
    assert slug in keys
    known = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE))
    assert keys <= known


@each
def test_every_claim_is_discussed(slug):
    prose = source(slug)
    for claim in registry.card(slug).claims:
        assert claim.id in prose, f"{claim.id} is not discussed"


@each
def test_equations_are_labelled_with_the_papers_name(slug):
    labels = re.findall(r"^\$\$[ \t]*\(([^)]+)\)", source(slug), re.MULTILINE)
    assert labels and all(label.startswith(f"eq-{slug}-") for label in labels)
