"""How long the book takes to render with a hundred chapters: the chapters of today, each copied until there are as many."""

import dataclasses
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import yaml

from vislab import registry
from vislab.batch import book, extras, pages

COUNT, LIMIT = 100, 3.0


def renamed(text: str, slug: str, copy: str) -> str:
    """A chapter's text with the labels of its figures, equations and exercises under another name."""
    return re.sub(rf"\b(fig|eq|ex|so|tab)-{re.escape(slug)}-", rf"\1-{copy}-", text)


def main() -> None:
    chapters = [book.chapter(slug, "smoke") for slug in registry.slugs()]
    executed = book.execute(chapters, os.cpu_count() or 1, book.ROOT / "_build")
    config = yaml.safe_load((book.ROOT / "_config.yml").read_text())
    entries = extras.entries((book.ROOT / "book" / "references.bib").read_text())
    known = extras.terms((book.ROOT / "book" / "glossary.md").read_text())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "_build"
        source = out / "src" / "smoke"
        shutil.copytree(book.ROOT / "book", source / "book", ignore=shutil.ignore_patterns("*.md"))
        shutil.copy(book.ROOT / "_config.yml", source)
        copies, notebooks = [], {}
        for number in range(COUNT):
            one = chapters[number % len(chapters)]
            name = f"{one.slug}_{number}"
            notebook = book.graft(one, executed[one.slug])
            extras.add(notebook, one.slug, one.part, config, entries.get(one.slug), known, False)
            path = source / "book" / one.part / f"{name}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(renamed(jupytext.writes(notebook, fmt="md:myst"), one.slug, name))
            for file, content in extras.downloads(book.read_source(one), name, "").items():
                (source / file).parent.mkdir(parents=True, exist_ok=True)
                (source / file).write_bytes(content)
            copies.append(dataclasses.replace(one, slug=name))
            notebooks[name] = notebook
        for name in ("intro", "results", "map", "glossary"):
            text = (book.ROOT / "book" / f"{name}.md").read_text()
            filled = pages.fill(text, f"book/{name}.md", registry.slugs(), {}, "smoke")
            (source / "book" / f"{name}.md").write_text(filled)
        parts = [{"caption": "Papers", "chapters": [{"file": c.document} for c in copies]}]
        parts.append(
            {"caption": "Results", "chapters": [{"file": f"book/{n}"} for n in ("results", "map", "glossary")]}
        )
        (source / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "book/intro", "parts": parts}))
        book._fill_cache(copies, source, notebooks, out)
        begin = time.perf_counter()
        html = book._render(source, out, lambda line: print(line, file=sys.stderr))
        minutes = (time.perf_counter() - begin) / 60
        weight = sum(p.stat().st_size for p in html.rglob("*") if p.is_file()) / 2**20
    print(f"{COUNT} chapters rendered in {minutes:.1f} min (target under {LIMIT:g}); {weight:.0f} MiB of pages")


if __name__ == "__main__":
    main()
