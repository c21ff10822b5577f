"""The start of a new paper: a room, a chapter and a test from templates, with a stand-in method that runs."""

import re
from pathlib import Path
from string import Template

from vislab import registry
from vislab.cards import PARTS, CardError, pick
from vislab.engine.files import write_atomically
from vislab.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = Path(__file__).parent / "templates"
ROOM = ("__init__", "card", "model", "data", "train", "experiment")


def new(part: str, slug: str, root: Path = ROOT) -> list[Path]:
    """Write the files of paper `slug` and list it in _toc.yml and references.bib; the files written or changed.

    Raises CardError for an unknown part or a slug that is no name, UserError where something of that name is there already.
    """
    pick(part, PARTS, "part")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise CardError(f"a slug is a lower-case name such as 'deep_sets', not {slug!r}")
    if slug in registry.places():
        raise CardError(f"there is a paper {slug!r} already, in part {registry.places()[slug]}")
    room = root / "vislab" / "papers" / part
    files = {room / slug / f"{name}.py": f"{name}.py" for name in ROOM}
    files[root / "book" / part / f"{slug}.md"] = "chapter.md"
    files[root / "tests" / "papers" / f"test_{slug}.py"] = "test.py"
    for path in files:
        if path.exists():
            raise UserError(f"{path} is there already; nothing was written")
    texts = {path: (TEMPLATES / f"{name}.txt").read_text() for path, name in files.items()}
    written = {path: Template(text).substitute(slug=slug, part=part) for path, text in texts.items()}
    if not (room / "__init__.py").exists():
        written[room / "__init__.py"] = ""
    index = root / "book" / part / "index.md"
    if not index.exists():
        written[index] = (
            f"# {PARTS[part]}\n\nTO WRITE: what the papers of this part have in common.\n\n% vislab: gallery {part}\n"
        )
    written[root / "_toc.yml"] = _listed((root / "_toc.yml").read_text(), part, slug)
    entry = f"@inproceedings{{{slug},\n  title = {{TO WRITE}},\n  author = {{TO WRITE}},\n  year = {{2023}}\n}}\n"
    bibliography = root / "book" / "references.bib"
    written[bibliography] = f"{bibliography.read_text().rstrip()}\n\n{entry}"
    for path, text in written.items():
        write_atomically(path, text.encode())
    return list(written)


def _listed(toc: str, part: str, slug: str) -> str:
    """The table of contents with the chapter at the end of its part, and the part in the book's order where it is new."""
    lines = toc.splitlines()
    entry = f"          - file: book/{part}/{slug}"
    heads = [f"      - file: book/{part}/index", "        sections:"]
    if heads[0] in lines:
        end = lines.index(heads[0]) + 2
        while end < len(lines) and lines[end].startswith("          - "):
            end += 1
        return "\n".join([*lines[:end], entry, *lines[end:]]) + "\n"
    later = list(PARTS)[list(PARTS).index(part) + 1 :]
    following = [k for k, line in enumerate(lines) if any(line == f"      - file: book/{p}/index" for p in later)]
    end = following[0] if following else next(k for k, line in enumerate(lines) if "caption: Results" in line)
    return "\n".join([*lines[:end], *heads, entry, *lines[end:]]) + "\n"
