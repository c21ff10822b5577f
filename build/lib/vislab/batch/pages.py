"""The parts of the book's pages that are made from cards and records: gallery, verdict table, run times, reference pages."""

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vislab import registry
from vislab.cards import PARTS
from vislab.engine.records import Published, read_published
from vislab.viz.sections import badge, effect, measured_steps, minutes, overall
from vislab.viz.show import Raw, table_html

MARK = re.compile(r"^% vislab: (\w+)(?: (\w+))?[ \t]*$", re.MULTILINE)


def fill(text: str, name: str, slugs: Sequence[str], pictures: Mapping[str, str], profile: str) -> str:
    """`text` of page `name` with every `% vislab: WHAT [PART]` line replaced by what it stands for."""
    up = "../" * name.count("/")

    def made(match: re.Match) -> str:
        what, part = match.groups()
        if what == "gallery":
            html = gallery([s for s in slugs if part in (None, registry.places()[s])], pictures, up, profile)
        elif what == "verdicts":
            html = verdicts(slugs, up, profile)
        elif what == "times":
            html = times(slugs, up, profile)
        else:
            raise ValueError(f"{name} asks for {what!r}, which is not gallery, verdicts or times")
        return f"```{{raw}} html\n{html}\n```"

    return MARK.sub(made, text)


def published(slug: str, profile: str) -> Published | None:
    """The judged record that a page shows: of the profile where it was judged, else the tutorial's."""
    found = read_published(profile, slug)
    return found if found is not None and found.claims else read_published("tutorial", slug)


def gallery(slugs: Sequence[str], pictures: Mapping[str, str], up: str, profile: str) -> str:
    """A card a chapter: picture, title, takeaway, verdicts; under the names of the parts when there are many."""
    parts = [p for p in PARTS if any(registry.places()[s] == p for s in slugs)]
    many = len(parts) > 1 and len(slugs) > 12
    found = []
    for part in parts if many else [None]:
        if part is not None:
            found.append(f'<p class="rubric">{escape(PARTS[part])}</p>')
        mine = [s for s in slugs if part in (None, registry.places()[s])]
        found.append(
            '<div class="vislab-gallery">' + "\n".join(_card(s, pictures, up, profile) for s in mine) + "</div>"
        )
    return "\n".join(found)


def _card(slug: str, pictures: Mapping[str, str], up: str, profile: str) -> str:
    paper = registry.card(slug)
    record = published(slug, profile)
    if record is None:
        labels = [badge("not run yet", c.id) for c in paper.claims]
    else:
        labels = [badge(overall(record.claims, c.id), c.id) for c in paper.claims]
    # decoration: the title beside it says what the card is
    picture = (
        f'<img class="vislab-picture" src="{up}_static/{pictures[slug]}" alt="" loading="lazy">'
        if slug in pictures
        else '<div class="vislab-picture"></div>'
    )
    return (
        f'<div class="vislab-card"><a href="{up}book/{paper.part}/{slug}.html">{picture}'
        f'<p class="vislab-title">{escape(paper.title)}</p></a>'
        f'<p class="vislab-summary">{escape(paper.summary)}</p>'
        f'<p class="vislab-badges">{" ".join(labels)}</p></div>'
    )


def verdicts(slugs: Sequence[str], up: str, profile: str) -> str:
    """Counts, filters by part and verdict, and a row a part of a claim."""
    from vislab.engine.verdicts import VERDICTS

    rows, seen, intervals, claims, stale = [], Counter(), 0, Counter(), []
    for slug in slugs:
        record = published(slug, profile)
        if record is None:
            continue
        paper = registry.card(slug)
        if _stale(slug, record):
            stale.append(slug)
        for claim in paper.claims:
            parts = [c for c in record.claims if c["id"] == claim.id]
            if parts:
                claims[overall(record.claims, claim.id)] += 1
            for row in parts:
                seen[row["verdict"]] += 1
                intervals += row["low"] is not None and row["verdict"] not in ("failed", "not tested here")
                rows.append(_verdict_row(paper, claim, row, slug in stale, up))
    if not rows:
        return '<p class="vislab-missing">No verdicts are published yet.</p>'
    counted = "".join(
        f"<li>{badge(v)} {_many(claims[v], 'claim')}, {_many(seen[v], 'part')}</li>" for v in VERDICTS if seen[v]
    )
    note = (
        f"{intervals} parts were judged by an interval; chance alone would give {0.025 * intervals:.1f} of them "
        "the verdict 'reproduced' if no effect were there."
    )
    if stale:
        note += f" Code changed since the runs of {', '.join(stale)}."
    known = [p for p in PARTS if any(registry.places()[s] == p for s in slugs)]
    filters = (
        '<div class="vislab-filters"><label>Part of the book<select name="part"><option value="">all</option>'
        + "".join(f'<option value="{p}">{escape(PARTS[p])}</option>' for p in known)
        + '</select></label><label>Verdict<select name="verdict"><option value="">all</option>'
        + "".join(f'<option value="{escape(v)}">{escape(v)}</option>' for v in VERDICTS if seen[v])
        + '</select></label><output aria-live="polite"></output></div>'
    )
    columns = ("paper", "claim", "what is compared", "effect [95% interval]", "verdict")
    head = "".join(f'<th scope="col">{c}</th>' for c in columns)
    return (
        f'<ul class="vislab-counts">{counted}</ul><p class="vislab-note">{escape(note)}</p>{filters}'
        '<div class="vislab-scroll" tabindex="0" role="region" aria-label="Verdicts">'
        f'<table class="vislab-table vislab-results"><thead><tr>{head}</tr></thead><tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _verdict_row(paper: Any, claim: Any, row: Mapping[str, Any], changed: bool, up: str) -> str:
    says = claim.parts[row["part"]].says if row["part"] < len(claim.parts) else row["kind"]
    why = f'<br><span class="vislab-says">{escape(row["why"])}</span>' if row["why"] else ""
    note = '<br><span class="vislab-says">code changed since</span>' if changed else ""
    return (
        f'<tr data-part="{paper.part}" data-verdict="{escape(row["verdict"])}">'
        f'<td><a href="{up}book/{paper.part}/{paper.slug}.html">{escape(paper.slug)}</a>{note}</td>'
        f"<td>{escape(claim.statement)}</td><td>{escape(says or row['kind'])}</td>"
        f'<td class="vislab-effect">{escape(effect(row))}</td><td>{badge(row["verdict"])}{why}</td></tr>'
    )


def _stale(slug: str, record: Published) -> bool:
    from vislab.engine.code import code_hash

    return code_hash(registry.room(slug) / "experiment.py") != record.code_hash


def times(slugs: Sequence[str], up: str, profile: str) -> str:
    """All arms and seeds of each paper on each device, and one step at the paper's own scale."""
    lines: list[list[Any]] = []
    for slug in slugs:
        link = Raw(f'<a href="{up}book/{registry.places()[slug]}/{slug}.html">{slug}</a>', slug)
        for folder in ("tutorial", "gpu"):
            record = read_published(folder, slug)
            if record is not None:
                what = f"all arms and seeds at {record.profile}"
                lines.append([link, what, record.device_name, minutes(record.cpu_seconds)])
        for step in measured_steps(slug):
            what = f"one training step at the paper's scale, {step['peak_bytes'] / 2**30:.1f} GiB"
            lines.append([link, what, step["name"], f"{step['seconds']:.2f} s"])
    if not lines:
        return '<p class="vislab-missing">No times are published yet.</p>'
    return table_html(["paper", "what", "device", "time"], lines)


# Reference pages

FLOORS = ("cards", "registry", "errors", "ops", "nn", "worlds", "datasets", "engine", "zoo", "viz", "batch")


def reference(package: Path) -> dict[str, str]:
    """{page: text}: one page a floor and one a part of the papers, each module with its public members."""
    found = {}
    for floor in FLOORS:
        path = package / floor
        modules = _modules(path, package) if path.is_dir() else [(f"vislab.{floor}", False)]
        if modules:
            found[floor] = _reference_page(f"vislab.{floor}", modules)
    for part in sorted(set(registry.places().values())):
        modules = _modules(package / "papers" / part, package)
        found[f"papers_{part}"] = _reference_page(f"vislab.papers.{part}", modules)
    return found


def _modules(folder: Path, package: Path) -> list[tuple[str, bool]]:
    """(name, whether it is a package) of the modules below `folder` that have a docstring."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        if ast.get_docstring(ast.parse(path.read_text())) is not None:
            parts = ("vislab", *path.relative_to(package).with_suffix("").parts)
            found.append((".".join(parts).removesuffix(".__init__"), path.name == "__init__.py"))
    return sorted(found)


def _reference_page(title: str, modules: Sequence[tuple[str, bool]]) -> str:
    blocks = [f"# {title}\n"]
    for name, is_package in modules:
        # a package's names are those of its modules, which follow
        members = "" if is_package else "   :members:\n   :member-order: bysource\n"
        blocks.append(f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n{members}```\n")
    return "\n".join(blocks)


def reference_config(text: str) -> str:
    """`_config.yml` with autodoc; only targets under torch, jaxtyping, numpy and typing may stay unresolved."""
    import yaml

    config = yaml.safe_load(text)
    options = config["sphinx"]["config"]
    options["extensions"] = [*options["extensions"], "sphinx.ext.autodoc", "vislab.batch.docstrings"]
    options["autodoc_typehints"] = "none"
    options["autodoc_inherit_docstrings"] = False
    options["nitpick_ignore_regex"] = [["py:class", r"(torch|jaxtyping|numpy|typing)(\..*)?"]]
    return yaml.safe_dump(config, sort_keys=False)
