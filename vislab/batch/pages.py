"""The parts of the book's pages that are made from cards and records: gallery, verdict table, run times, map of ideas."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vislab import registry
from vislab.batch import ideas
from vislab.cards import PARTS
from vislab.engine.records import Published, read_published
from vislab.engine.verdicts import VERDICTS, standing
from vislab.viz.sections import CLASSES, COLOURS, badge, effect, gibibytes, measured_steps, minutes, overall
from vislab.viz.sections import times as times_of
from vislab.viz.show import Raw, table_html

MARK = re.compile(r"^% vislab: (\w+)(?: (\w+))?[ \t]*$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\((?:[\w./]*/)?(\w+)\.md\)")


def fill(text: str, name: str, slugs: Sequence[str], pictures: Mapping[str, str], profile: str) -> str:
    """`text` of page `name` with every `% vislab: WHAT [PART]` line replaced by what it stands for.

    Links to chapters that are not in this book become plain text.
    """
    up = "../" * name.count("/")

    def made(match: re.Match) -> str:
        what, part = match.groups()
        if what == "gallery":
            chosen = [s for s in slugs if part in (None, registry.places()[s])]
            html = gallery(chosen, pictures, up, profile, filtered=part is None)
        elif what == "verdicts":
            html = verdicts(slugs, up, profile)
        elif what == "times":
            html = times(slugs, up, profile)
        elif what == "map":
            html = ideas.drawn(slugs, up)
        else:
            raise ValueError(f"{name} asks for {what!r}, which is not gallery, verdicts, times or map")
        return f"```{{raw}} html\n{html}\n```"

    def linked(match: re.Match) -> str:
        left_out = match[2] in registry.places() and match[2] not in slugs
        return match[1] if left_out else match[0]

    return MARK.sub(made, LINK.sub(linked, text))


def published(slug: str, profile: str) -> Published | None:
    """The judged record that a page shows: of the profile where it was judged, else the tutorial's."""
    found = read_published(profile, slug)
    return found if found is not None and found.claims else read_published("tutorial", slug)


def gallery(slugs: Sequence[str], pictures: Mapping[str, str], up: str, profile: str, filtered: bool = False) -> str:
    """A card a chapter: picture, title, takeaway, verdicts, run times; under the names of the parts when there are many.

    `filtered` puts choices of part, verdict, run time and words above them.
    """
    parts = [p for p in PARTS if any(registry.places()[s] == p for s in slugs)]
    many = len(parts) > 1 and len(slugs) > 12
    found = []
    for part in parts if many else [None]:
        mine = [s for s in slugs if part in (None, registry.places()[s])]
        title = "" if part is None else f'<p class="rubric">{escape(PARTS[part])}</p>'
        cards = "\n".join(_card(s, pictures, up, profile) for s in mine)
        found.append(f'<div class="vislab-group">{title}<div class="vislab-gallery">{cards}</div></div>')
    whole = f'<div id="vislab-cards">{"".join(found)}</div>'
    if not filtered:
        return whole
    records = {s: published(s, profile) for s in slugs}
    verdicts = {v for s, r in records.items() for v in _claims(registry.card(s), r)}
    lengths = [("up to 5 min", "0-300"), ("5 to 10 min", "300-600"), ("longer", "600-")]
    choices = [
        ("part", "Part of the book", [(PARTS[p], p) for p in parts]),
        ("verdict", "Some claim is", [(v, v) for v in (*VERDICTS, UNTRIED) if v in verdicts]),
        ("seconds", "All runs on a CPU take", lengths),
    ]
    return filters("vislab-cards", choices, "words", "Words") + whole


UNTRIED = "not run yet"


def _claims(paper: Any, record: Published | None) -> list[str]:
    """The verdict of each claim of a paper."""
    return [UNTRIED if record is None else overall(record.claims, c.id) for c in paper.claims]


def filters(target: str, choices: Sequence[tuple[str, str, Sequence[tuple[str, str]]]], words: str, label: str) -> str:
    """Choices that hide what does not fit below the element `target`: (field, label, [(text, value)]), and a field for words."""
    found = []
    for name, title, options in choices:
        items = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for text, value in options)
        found.append(
            f'<label>{escape(title)}<select name="{name}"><option value="">all</option>{items}</select></label>'
        )
    found.append(f'<label>{escape(label)}<input type="search" name="{words}" autocomplete="off"></label>')
    return f'<div class="vislab-filters" data-for="{target}">{"".join(found)}<output aria-live="polite"></output></div>'


def _card(slug: str, pictures: Mapping[str, str], up: str, profile: str) -> str:
    paper = registry.card(slug)
    record = published(slug, profile)
    verdicts = _claims(paper, record)
    labels = [badge(v, c.id) for v, c in zip(verdicts, paper.claims, strict=True)]
    # decoration: the title beside it says what the card is
    picture = (
        f'<img class="vislab-picture" src="{up}_static/{pictures[slug]}" alt="" loading="lazy">'
        if slug in pictures
        else '<div class="vislab-picture"></div>'
    )
    seconds = "" if record is None else f' data-seconds="{record.cpu_seconds:.0f}"'
    return (
        f'<div class="vislab-card vislab-item" data-part="{paper.part}" data-verdict="{escape("|".join(verdicts))}"{seconds}>'
        f'<a href="{up}book/{paper.part}/{slug}.html">{picture}<p class="vislab-title">{escape(paper.title)}</p></a>'
        f'<p class="vislab-summary">{escape(paper.summary)}</p>'
        f'<p class="vislab-badges">{" ".join(labels)}</p>'
        f'<p class="vislab-time">{escape(PARTS[paper.part])} · {escape(times_of(paper))}</p></div>'
    )


def verdicts(slugs: Sequence[str], up: str, profile: str) -> str:
    """Counts, filters by part, verdict and words, and a sortable row a part of a claim, whose intervals make a forest plot."""
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
    choices = [
        ("part", "Part of the book", [(PARTS[p], p) for p in known]),
        ("verdict", "Verdict", [(v, v) for v in VERDICTS if seen[v]]),
    ]
    columns = (
        "paper",
        "claim",
        "the paper's figure",
        "what is compared",
        "ours [95% interval]",
        "against ← → claimed",
        "verdict",
    )
    head = "".join(f'<th scope="col"><button type="button">{c}</button></th>' for c in columns)
    return (
        f'{_bar(claims)}<ul class="vislab-counts">{counted}</ul><p class="vislab-note">{escape(note)}</p>'
        f"{filters('vislab-verdicts', choices, 'words', 'Words')}"
        '<div class="vislab-scroll" tabindex="0" role="region" aria-label="Verdicts">'
        f'<table id="vislab-verdicts" class="vislab-table vislab-results vislab-sortable"><thead><tr>{head}</tr></thead><tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )


def _bar(claims: Mapping[str, int]) -> str:
    """One bar of all claims, cut by verdict."""
    total = sum(claims.values())
    cuts, start = [], 0.0
    for verdict in (v for v in VERDICTS if claims[v]):
        width = 100 * claims[verdict] / total
        fill = COLOURS[CLASSES[verdict]]
        cuts.append(
            f'<rect x="{start:.2f}%" width="{width:.2f}%" height="100%" fill="{fill}"><title>{verdict}</title></rect>'
        )
        start += width
    label = ", ".join(f"{claims[v]} {v}" for v in VERDICTS if claims[v])
    return f'<svg class="vislab-bar" role="img" aria-label="{_many(total, "claim")}: {label}">{"".join(cuts)}</svg>'


FOREST, REACH = 120, 5.0
"""Width of the small plot of an interval in pixels, and the half-widths of intervals that it reaches to each side."""


def forest(part: Any, metric: Any, row: Mapping[str, Any]) -> tuple[str, float]:
    """One interval as a line over the bound of its claim, in half-widths of the interval; and where it stands, for sorting."""
    ends = standing(part, metric, row)
    if ends is None:
        return "", -math.inf
    low, middle, high = (min(REACH, max(-REACH, v)) for v in ends)

    def place(value: float) -> str:
        return f"{FOREST / 2 + value * (FOREST / 2 - 4) / REACH:.1f}"

    colour = COLOURS[CLASSES.get(row["verdict"], "untested")]
    svg = (
        f'<svg class="vislab-forest" width="{FOREST}" height="16" role="img" aria-label="{ends[1]:+.1f} half-widths from the bound">'
        f'<line x1="{FOREST / 2}" x2="{FOREST / 2}" y1="0" y2="16" class="vislab-bound"/>'
        f'<g stroke="{colour}" fill="{colour}"><line x1="{place(low)}" x2="{place(high)}" y1="8" y2="8" stroke-width="2"/>'
        f'<circle cx="{place(middle)}" cy="8" r="3"/></g></svg>'
    )
    return svg, ends[1]


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _verdict_row(paper: Any, claim: Any, row: Mapping[str, Any], changed: bool, up: str) -> str:
    part = claim.parts[row["part"]] if row["part"] < len(claim.parts) else None
    says = part.says if part is not None else ""
    why = f'<br><span class="vislab-says">{escape(row["why"])}</span>' if row["why"] else ""
    note = '<br><span class="vislab-says">code changed since</span>' if changed else ""
    metric = next((m for m in paper.metrics if part is not None and m.name == part.metric), None)
    plot, place = forest(part, metric, row) if metric is not None else ("", -math.inf)
    order = VERDICTS.index(row["verdict"])
    return (
        f'<tr class="vislab-item" data-part="{paper.part}" data-verdict="{escape(row["verdict"])}">'
        f'<td><a href="{up}book/{paper.part}/{paper.slug}.html">{escape(paper.slug)}</a>{note}</td>'
        f'<td data-sort="{escape(paper.slug)} {escape(claim.id)}">{escape(claim.id)}: {escape(claim.statement)}</td>'
        f"<td>{escape(claim.reported)}</td><td>{escape(says or row['kind'])}</td>"
        f'<td class="vislab-effect" data-sort="{"" if row["effect"] is None else row["effect"]}">{escape(effect(row))}</td>'
        f'<td data-sort="{place:.3f}">{plot}</td><td data-sort="{order}">{badge(row["verdict"])}{why}</td></tr>'
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
            memory = f", {gibibytes(step['peak_bytes'])} GiB" if step["peak_bytes"] else ""
            what = f"one training step at the paper's scale{memory}"
            lines.append([link, what, step["name"], f"{step['seconds']:.2f} s"])
    if not lines:
        return '<p class="vislab-missing">No times are published yet.</p>'
    return table_html(["paper", "what", "device", "time"], lines)
