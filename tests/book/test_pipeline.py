"""The pipeline on a small book of one chapter: stamps, resuming, grafting, errors that name the file."""

import shutil

import jupytext
import nbformat
import pytest
import yaml

from tests.book import shared
from vislab import registry
from vislab.batch import book, docstrings
from vislab.engine.files import write_atomically
from vislab.engine.records import canonical
from vislab.errors import UserError

SLUG = registry.slugs()[0]
PART = registry.places()[SLUG]
CHAPTER = f"""---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A small chapter

```{{code-cell}}
:tags: [parameters]

profile = "smoke"
seed = 0
device = "auto"
changes = {{}}
```

```{{code-cell}}
print("ran at", profile, "on", device, "with", changes)
```

```{{code-cell}}
from IPython.display import publish_display_data

section = {{"section": "badges", "slug": "{SLUG}", "profile": profile, "device": "cpu"}}
old = "".join(["st", "ale"])
publish_display_data({{"text/html": old, "text/plain": old}}, {{"vislab": section}})
publish_display_data({{"text/html": "<p>form</p>", "application/vnd.jupyter.widget-view+json": {{"model_id": "0"}}}})
```
"""


@pytest.fixture
def small(tmp_path):
    """A checkout with one small chapter."""
    shutil.copy(book.ROOT / "_config.yml", tmp_path)
    shutil.copytree(book.ROOT / "book" / "_static", tmp_path / "book" / "_static")
    (tmp_path / "book" / PART).mkdir()
    (tmp_path / "book" / "references.bib").write_text("")
    (tmp_path / "book" / "intro.md").write_text("# Intro\n\n% vislab: gallery\n")
    (tmp_path / "book" / PART / f"{SLUG}.md").write_text(CHAPTER)
    toc = {"format": "jb-book", "root": "book/intro"}
    entry = {"file": f"book/{PART}/{SLUG}"}
    (tmp_path / "book" / PART / "index.md").write_text("# Part\n")
    toc["parts"] = [{"caption": "Papers", "chapters": [{"file": f"book/{PART}/index", "sections": [entry]}]}]
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))
    return tmp_path


def build(root, **options):
    lines: list[str] = []
    options = {"profile": "smoke", "device": "cpu"} | options
    html = book.build((SLUG,), root=root, report=lines.append, **options)
    return html, lines


def test_a_chapter_is_executed_once_and_again_when_it_changes(small):
    html, lines = build(small)
    page = html / "book" / PART / f"{SLUG}.html"
    assert any("executed" in line for line in lines)
    text = page.read_text()
    assert "ran at smoke on cpu" in text
    assert "stale" not in text and "vislab-badge" in text
    assert "<p>form</p>" in text and 'type="application/vnd.jupyter.widget-view+json"' not in text
    _, lines = build(small)
    assert not any("executed" in line for line in lines)
    source = small / "book" / PART / f"{SLUG}.md"
    source.write_text(CHAPTER.replace("ran at", "went at"))
    _, lines = build(small)
    assert any("executed" in line for line in lines)
    assert "went at smoke" in page.read_text()
    assert len(list((small / "_build" / "executed" / "smoke").glob("*.ipynb"))) == 1


def test_parameters_and_stamp_are_in_the_copy_and_the_source_is_untouched(small):
    build(small)
    copy = jupytext.read(small / "_build" / "src" / "smoke" / "book" / PART / f"{SLUG}.md")
    cell = next(c for c in copy.cells if "parameters" in c.metadata.get("tags", []))
    assert cell.source == 'profile = "smoke"\nseed = 0\ndevice = "cpu"\nchanges = {}'
    assert cell.metadata["vislab"]["stamp"] == book.chapter(SLUG, "smoke", "cpu", small).stamp
    assert (small / "book" / PART / f"{SLUG}.md").read_text() == CHAPTER


def test_long_listings_are_folded_and_short_ones_are_not():
    def shown(lines):
        code = "\n".join(f"line {k}" for k in range(lines))
        output = nbformat.v4.new_output("display_data", {"text/markdown": f"`name`\n\n```python\n{code}\n```\n"})
        return book._static(output)["data"]["text/markdown"]

    assert "<details>" not in shown(book.FOLD_LINES)
    long = shown(book.FOLD_LINES + 20)
    assert long.startswith(
        f"`name`\n\n<details><summary>{book.FOLD_LINES + 20} lines</summary>"
    ) and long.rstrip().endswith("</details>")


def test_other_parameters_execute_beside_the_book_and_leave_its_notebook_alone(small):
    _, _ = build(small)
    changed = book.chapter(SLUG, "smoke", "cpu", small, seed=3, changes={"steps": 2, "flag": True})
    notebook = book.execute([changed], 1, small / "_build", lambda _: None)[SLUG]
    texts = [o["text"] for c in notebook.cells for o in c.get("outputs", []) if o["output_type"] == "stream"]
    assert "ran at smoke on cpu with {'steps': 2, 'flag': True}\n" in texts
    assert len(list((small / "_build" / "executed" / "smoke").glob("*.ipynb"))) == 1
    assert book.executed_path(changed, small / "_build").parent.name == "smoke-changed"


def test_the_stamp_follows_chapter_profile_device_and_records(small, monkeypatch):
    def stamp(profile="smoke", device="cpu"):
        return book.chapter(SLUG, profile, device, small).stamp

    first = stamp()
    assert stamp() == first
    assert len({first, stamp("tutorial"), stamp(device="auto")}) == 3
    monkeypatch.setenv("VISLAB_RESULTS", str(small / "results"))
    (small / "results" / "tutorial").mkdir(parents=True)
    (small / "results" / "tutorial" / f"{SLUG}.json").write_text("{}")
    assert stamp() != first


def test_a_failing_cell_names_chapter_and_cell(small):
    path = small / "book" / PART / f"{SLUG}.md"
    path.write_text(CHAPTER.replace('print("ran at"', 'raise ValueError("no")\nprint("ran at"'))
    with pytest.raises(UserError, match=rf"{SLUG}\.md failed in code cell 2: ValueError: no"):
        build(small)
    assert not list((small / "_build" / "executed").rglob("*.ipynb"))


@pytest.mark.parametrize("damage", [b"", b'{"cells": [', b"\xff\xfe\x00"])
def test_a_damaged_executed_notebook_is_named(small, damage):
    build(small)
    (path,) = (small / "_build" / "executed" / "smoke").glob("*.ipynb")
    path.write_bytes(damage)
    with pytest.raises(UserError, match=f"{path.name}.*damaged"):
        build(small)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 cells tagged parameters"),
        (CHAPTER[: CHAPTER.index("```{code-cell}")], "0 cells tagged parameters"),
        (CHAPTER.replace("kernelspec:", "kernelspec: ["), "cannot be read|cells tagged|kernelspec"),
        (CHAPTER.replace(":tags: [parameters]", ":tags: [parameters"), "cannot be read|cells tagged"),
    ],
)
def test_a_damaged_chapter_is_named(small, text, says):
    path = small / "book" / PART / f"{SLUG}.md"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as error:
        build(small)
    assert str(path) in str(error.value)


def test_a_missing_chapter_and_a_folder_without_a_book_are_named(small):
    (small / "book" / PART / f"{SLUG}.md").unlink()
    with pytest.raises(UserError, match=f"{SLUG} has no chapter"):
        build(small)
    (small / "_toc.yml").unlink()
    with pytest.raises(UserError, match="checkout"):
        build(small)


def test_a_warning_of_sphinx_fails_the_build(small):
    (small / "book" / "intro.md").write_text("# Intro\n\n{ref}`nowhere`\n")
    with pytest.raises(UserError, match="nowhere"):
        build(small)


def test_pages_of_an_earlier_choice_are_gone(small):
    html, _ = build(small)
    (html / "book" / "old.html").write_text("old")
    (small / "_config.yml").write_text((small / "_config.yml").read_text() + "\n# changed\n")
    build(small)
    assert not (html / "book" / "old.html").exists()


def test_a_section_follows_the_records_without_a_new_execution(small, monkeypatch):
    monkeypatch.setattr(book, "_stamp", lambda *_: "0" * 20)
    monkeypatch.setenv("VISLAB_RESULTS", str(small / "results"))
    html, _ = build(small)
    page = html / "book" / PART / f"{SLUG}.html"
    assert "not run yet" in page.read_text()
    record = shared.invented(SLUG)
    write_atomically(small / "results" / "tutorial" / f"{SLUG}.json", canonical(record.model_dump()).encode())
    _, lines = build(small)
    assert not any("executed" in line for line in lines)
    assert "not run yet" not in page.read_text()


def test_a_changed_style_reaches_the_pages(small):
    html, _ = build(small)
    style = small / "book" / "_static" / "vislab.css"
    style.write_text(style.read_text() + "/* new */")
    build(small)
    assert "/* new */" in (html / "_static" / "vislab.css").read_text()


def test_a_subset_keeps_the_other_pages_and_drops_other_chapters():
    toc = yaml.safe_load((book.ROOT / "_toc.yml").read_text())
    found = book._toc(toc, [SLUG], True)
    documents = book._documents(found)
    assert f"book/{PART}/{SLUG}" in documents and "book/results" in documents
    assert not {f"book/{p}/{s}" for s, p in registry.places().items() if s != SLUG} & documents


def test_the_toc_lists_every_paper():
    toc = yaml.safe_load((book.ROOT / "_toc.yml").read_text())
    assert {f"book/{p}/{s}" for s, p in registry.places().items()} <= book._documents(toc)


def test_the_thumbnail_is_small(tmp_path):
    import base64
    import io

    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    cell = nbformat.v4.new_code_cell("", metadata={"tags": ["thumbnail"]})
    data = {"image/png": base64.b64encode(file.getvalue()).decode()}
    cell.outputs = [nbformat.v4.new_output("display_data", data)]
    picture = book.thumbnail(nbformat.v4.new_notebook(cells=[cell]))
    assert picture is not None and len(picture) <= 15_000
    assert Image.open(io.BytesIO(picture)).format == "WEBP"
    assert book.thumbnail(nbformat.v4.new_notebook()) is None


def test_scripts_are_small():
    for path in (book.ROOT / "book" / "_static").glob("*.js"):
        assert path.stat().st_size < 5_000, path.name


def test_every_reference_page_resolves(small):
    html, _ = build(small, api=True)
    page = (html / "book" / "api" / "engine.html").read_text()
    assert 'id="vislab.engine.fit.fit"' in page
    parts = set(registry.places().values())
    assert {p.stem for p in (html / "book" / "api").glob("papers_*.html")} == {f"papers_{p}" for p in parts}


def test_docstrings_are_shown_as_written():
    lines = ["Points |x| * y of `a_b*c`, w_ first.", "", "dnf   RAW", "  more", "", "end"]
    assert docstrings.plain(lines)[2:7] == ["::", "", "    dnf   RAW", "      more", ""]
    docstrings._process(None, "", "", None, None, lines)
    assert lines[0] == r"Points \|x\| \* y of ``a_b*c``, w\_ first."
