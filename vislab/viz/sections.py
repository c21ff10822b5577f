"""The sections that a chapter prints from records: badges, results, verdicts, scale; each as HTML and as plain text."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from vislab import registry
from vislab.cards import Metric, Paper
from vislab.engine.records import read_published, results_folder, runs_folder
from vislab.viz.show import Raw, table_html, table_text

CLASSES = {
    "reproduced": "reproduced",
    "reproduced in direction, smaller than claimed": "smaller",
    "inconclusive": "inconclusive",
    "contradicted": "contradicted",
    "failed": "failed",
    "not tested here": "untested",
}
# for notebooks, where the book's style sheet is not there
COLOURS = {
    "reproduced": "#1b6b3a",
    "smaller": "#3d6b1b",
    "inconclusive": "#6b5a00",
    "contradicted": "#9c2f12",
    "failed": "#7a1fa2",
    "untested": "#555555",
}


SIGNS = (
    "Differences are positive on the claimed side; ratios stand as they are, the first named over the second; "
    "quantities that were measured side by side in one process stand as they are."
)


@dataclass(frozen=True)
class Found:
    """Judged runs of a paper, from working records or from `results/`; `where` says which."""

    where: str
    profile: str
    device: str
    threads: int
    seeds: tuple[int, ...]
    arms: Mapping[str, Mapping[str, Sequence[float | None]]]
    compare: Mapping[str, float]
    claims: Sequence[Mapping[str, Any]]
    cpu_seconds: float
    stale: bool = False
    says: Mapping[tuple[str, int], str] = field(default_factory=dict)


def render(
    name: str, slug: str, profile: str, device: str = "cpu", changes: Mapping[str, Any] | None = None
) -> tuple[str, str]:
    """(HTML, plain text) of section `name` of a paper at a profile; `changes` of its config matter to the results alone."""
    card = registry.card(slug)
    if name == "results":
        return results(card, profile, device, changes or {})
    html, plain = {"badges": badges, "verdicts": verdicts, "scale": scale}[name](card, profile, device)
    if changes and name == "verdicts":
        note = f"Verdicts are taken on the profile's own configuration, without {said(changes)}."
        html, plain = f'{html}<p class="vislab-note">{escape(note)}</p>', f"{plain}\n{note}"
    return html, plain


def said(changes: Mapping[str, Any]) -> str:
    """Changed config fields as a reader wrote them."""
    return ", ".join(f"{name}={value}" for name, value in changes.items())


def find(card: Paper, profile: str, device: str = "cpu", changes: Mapping[str, Any] | None = None) -> Found | None:
    """Complete working records at `profile`, else the published ones at `profile`, else the tutorial's, else None.

    With `changes` of the config, working records or None.
    """
    says = {(c.id, k): p.says for c in card.claims for k, p in enumerate(c.parts)}
    if any((runs_folder() / card.slug).glob("*.json")):
        found = _working(card, profile, device, says, changes)
        if found is not None:
            return found
    if changes:
        return None
    for folder in dict.fromkeys((profile, "tutorial")):
        published = read_published(folder, card.slug)
        if published is not None:
            return Found(
                f"results/{folder}", published.profile, published.device, published.threads, tuple(published.seeds),
                published.arms, published.compare, published.claims, published.cpu_seconds,
                _stale(card.slug, published.code_hash), says,
            )  # fmt: skip
    return None


def find_judged(card: Paper, profile: str, device: str = "cpu") -> Found | None:
    """As `find`, but the tutorial's runs where those of the profile carry no verdicts."""
    found = find(card, profile, device)
    if found is not None and not found.claims and profile != "tutorial":
        found = find(card, "tutorial", device)
    return found if found is not None and found.claims else None


def _working(
    card: Paper,
    profile: str,
    device: str,
    says: Mapping[tuple[str, int], str],
    changes: Mapping[str, Any] | None = None,
) -> Found | None:
    import dataclasses

    from vislab.engine.collect import collect

    found = collect(card, registry.module(card.slug, "experiment"), profile, device, changes=changes)
    if found.missing:
        return None
    first = found.records[0]
    seconds = sum(r.seconds for r in found.records)
    claims = [dataclasses.asdict(j) for j in found.judged]
    where = f"working records with {said(changes)}" if changes else "working records"
    return Found(
        where, profile, first.device, first.threads, found.seeds, found.arms, found.compare, claims,
        seconds, False, says,
    )  # fmt: skip


def _stale(slug: str, published: str) -> bool:
    from vislab.engine.code import code_hash

    return code_hash(registry.room(slug) / "experiment.py") != published


def missing(card: Paper, profile: str, changes: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """The sentence that stands where runs are missing."""
    options = "".join(f" -p {name}={value}" for name, value in (changes or {}).items())
    command = f"vislab reproduce {card.slug} --profile {profile}{options}"
    text = f"The runs at {profile} are missing; make them with"
    return f'<p class="vislab-missing">{text} <code>{command}</code>.</p>', f"{text}: {command}"


def badge(verdict: str, before: str = "") -> Raw:
    """A verdict as a small label, told by its words as well as by its colour."""
    name = CLASSES.get(verdict, "untested")
    text = f"{before}: {verdict}" if before else verdict
    colours = f"color:{COLOURS[name]};border:1px solid {COLOURS[name]}"
    style = f"{colours};border-radius:1em;padding:0 .6em;margin-right:.3em;display:inline-block"
    return Raw(f'<span class="vislab-badge vislab-{name}" style="{style}">{escape(text)}</span>', text)


def overall(claims: Sequence[Mapping[str, Any]], claim_id: str) -> str:
    """The verdict of a claim from its published parts."""
    from vislab.engine.verdicts import worst

    words = [c["verdict"] for c in claims if c["id"] == claim_id]
    return worst(words) if words else "not tested here"


def minutes(seconds: float) -> str:
    """A duration as people say it."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def times(card: Paper) -> str:
    """Measured run times of all arms and seeds, from the published records."""
    texts = []
    for folder, device in (("tutorial", "one CPU thread"), ("gpu", "one GPU")):
        published = read_published(folder, card.slug)
        if published is not None:
            texts.append(f"{minutes(published.cpu_seconds)} on {device}")
    return f"All arms and seeds: {', '.join(texts)}." if texts else "Run time: not measured yet."


def badges(card: Paper, profile: str, device: str) -> tuple[str, str]:
    """One badge a claim, then the run times."""
    found = find_judged(card, profile, device)
    if found is None:
        labels = [badge("not run yet", c.id) for c in card.claims]
    else:
        labels = [badge(overall(found.claims, c.id), c.id) for c in card.claims]
    note = times(card)
    if found is not None and found.stale:
        note += " Code changed since these runs."
    html = f'<p class="vislab-badges">{" ".join(labels)}</p><p class="vislab-note">{escape(note)}</p>'
    return html, "\n".join([*(label.plain for label in labels), note])


def number(values: Sequence[float | None], digits: int) -> str:
    """Mean and half-width of the 95% interval over seeds; one value stands alone."""
    from vislab.engine.verdicts import interval

    if not values:
        return ""
    if any(v is None for v in values):
        return "failed"
    mean, low, _ = interval(values)
    return plain_number(mean, digits) + ("" if len(values) < 2 else f" ± {plain_number(mean - low, digits)}")


def plain_number(value: float, digits: int) -> str:
    """`value` with `digits` decimals, or in powers of ten where that would show nothing or too much."""
    if value != 0 and (abs(value) >= 1e6 or abs(value) < 0.5 * 10**-digits):
        return f"{value:.2e}"
    return f"{value:.{digits}f}"


def heading(metric: Metric) -> str:
    """A metric's name with its unit and the direction of improvement."""
    unit = f" [{metric.unit}]" if metric.unit else ""
    return f"{metric.name}{unit} {'↑' if metric.better == 'higher' else '↓'}"


def results(card: Paper, profile: str, device: str, changes: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """Arms by metrics, mean ± half-width of the 95% interval over seeds, then the paper's own numbers."""
    found = find(card, profile, device, changes)
    if found is None:
        return missing(card, profile, changes)
    measured = {name for values in found.arms.values() for name in values}
    metrics = [m for m in card.metrics if m.name in measured]
    names = {m.name for m in metrics}
    rows: list[list[Any]] = []
    for arm in card.arms:
        if arm.name in found.arms:
            values = found.arms[arm.name]
            title = f"<strong>{escape(arm.name)}</strong>" if arm.role == "method" else escape(arm.name)
            tip = Raw(f'{title}<br><span class="vislab-says">{escape(arm.says)}</span>', arm.name)
            rows.append([tip, *(number(values.get(m.name, ()), m.digits) for m in metrics)])
    columns = ["arm", *(heading(m) for m in metrics)]
    count = f"{len(found.seeds)} seeds, mean ± half of the 95% interval" if len(found.seeds) > 1 else "one seed"
    caption = f"Measured at {found.profile} ({found.where}, {count})"
    tables = [(columns, rows, caption)]
    settings = list(dict.fromkeys(r.setting for r in card.reported if r.name in names))
    beside = [m for m in metrics if any(r.name == m.name for r in card.reported)]
    if beside:
        lines = []
        for setting in settings:
            mine = {r.name: r for r in card.reported if r.setting == setting}
            lines.append([setting, *(_reported(mine.get(m.name)) for m in beside)])
        tables.append((["setting", *(heading(m) for m in beside)], lines, "Reported by the paper, on its own data"))
    if found.compare:
        lines = _compared(card, found.compare)
        tables.append((["quantity", "value", "95% interval"], lines, "Measured side by side in one process"))
    notes = []
    if found.profile != profile:
        notes.append(f"The runs at {profile} are missing; these are the ones at {found.profile}.")
    if any(not r.confirmed and r.name in names for r in card.reported):
        notes.append("* taken from the paper's tables as cited elsewhere, not checked against the paper itself.")
    if found.stale:
        notes.append("Code changed since these runs.")
    wide = "vislab-table vislab-measured"
    html = "\n".join(table_html(*t, wide) for t in tables)
    html += "".join(f'<p class="vislab-note">{escape(n)}</p>' for n in notes)
    return html, "\n\n".join([*(table_text(*t) for t in tables), *notes])


def _reported(entry: Any) -> str:
    if entry is None:
        return ""
    return f"{entry.value:g}{'' if entry.confirmed else '*'}"


def _compared(card: Paper, compare: Mapping[str, float]) -> list[list[Any]]:
    lines: list[list[Any]] = []
    for name, value in compare.items():
        if name.endswith(("_low", "_high")):
            continue
        low, high = compare.get(f"{name}_low"), compare.get(f"{name}_high")
        lines.append([name, f"{value:.4g}", "" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"])
    return lines


def effect(row: Mapping[str, Any]) -> str:
    """A part's effect with its interval."""
    if row["effect"] is None:
        return ""
    low, high = row["low"], row["high"]
    known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    return f"{row['effect']:.3g}" + (f" [{low:.3g}, {high:.3g}]" if known else "")


def verdicts(card: Paper, profile: str, device: str) -> tuple[str, str]:
    """Every part of every claim with effect, 95% interval, verdict and why."""
    from vislab.engine.verdicts import chance

    found = find_judged(card, profile, device)
    if found is None:
        html, plain = missing(card, "tutorial")
        text = f"Claims are not judged at {profile}."
        return (
            (html, plain) if profile == "tutorial" else (f'<p class="vislab-note">{text}</p>{html}', f"{text} {plain}")
        )
    rows: list[list[Any]] = []
    for claim in card.claims:
        parts = [c for c in found.claims if c["id"] == claim.id]
        verdict = overall(found.claims, claim.id)
        statement = f"{claim.statement} Reported: {claim.reported}."
        html = f"<strong>{escape(claim.id)}</strong> {escape(claim.statement)}"
        html += f'<br><span class="vislab-says">Reported: {escape(claim.reported)}</span>'
        rows.append([Raw(html, f"{claim.id} {statement}"), "", badge(verdict), ""])
        for part in parts:
            says = found.says.get((part["id"], part["part"]), "") or part["kind"]
            label = Raw(f'<span class="vislab-part">{escape(says)}</span>', f"  {says}")
            rows.append([label, effect(part), badge(part["verdict"]), part["why"]])
    columns = ["claim and what is compared", "effect [95% interval]", "verdict", "why"]
    caption = f"Verdicts at {found.profile} ({found.where}, seeds {', '.join(map(str, found.seeds))})"
    judged = [_Part(c["low"], c["verdict"]) for c in found.claims]
    notes = [
        SIGNS,
        f"Chance alone would give {chance(judged):.1f} 'reproduced' among the parts judged by an interval.",
    ]
    if found.stale:
        notes.append("Code changed since these runs.")
    html = table_html(columns, rows, caption, "vislab-table vislab-verdicts")
    html += "".join(f'<p class="vislab-note">{escape(n)}</p>' for n in notes)
    return html, "\n".join([table_text(columns, rows, caption), *notes])


@dataclass(frozen=True)
class _Part:
    low: float | None
    verdict: str


def scale(card: Paper, profile: str, device: str) -> tuple[str, str]:
    """Parameters at the paper's scale beside the reported count, measured training steps, and the real data sets."""
    tables = []
    if card.network:
        lines = [[name, paper_parameters(card.slug, name)] for name in dict.fromkeys((profile, "paper"))]
        reported = card.reported_parameters()
        if reported is not None:
            lines.append(["reported", int(reported)])
            lines.append(["paper profile against reported", f"{dict(lines[:-1])['paper'] / reported - 1:+.2%}"])
        tables.append((["network", "parameters"], lines, "Size of the network"))
    steps = measured_steps(card.slug)
    if steps:
        lines = [[s["name"], f"{s['seconds']:.3g}", gibibytes(s["peak_bytes"])] for s in steps]
        tables.append((["device", "seconds", "peak memory [GiB]"], lines, "One training step at the paper's own scale"))
    if card.datasets:
        lines = []
        for d in card.datasets:
            link = Raw(f'<a href="{escape(d.page)}">{escape(d.page)}</a>', d.page)
            layout = Raw(f"<pre>{escape(d.layout)}</pre>", d.layout.replace("\n", " "))
            lines.append([d.name, Raw(f"<code>data/{escape(d.folder)}</code>", f"data/{d.folder}"), layout, link])
        tables.append((["data set", "folder", "layout", "page"], lines, "Real data sets"))
    commands = f"vislab data {card.slug}\nvislab run {card.slug} --profile paper"
    html = "\n".join(table_html(*t) for t in tables) + f"<pre>{escape(commands)}</pre>"
    return html, "\n\n".join([*(table_text(*t) for t in tables), commands])


def gibibytes(count: int) -> str:
    """Peak memory of a step; a CPU keeps no count, and then there is nothing to say."""
    return f"{count / 2**30:.2f}" if count else "not counted"


def paper_parameters(slug: str, profile: str) -> int:
    """Parameters of the method's network at a profile, counted without memory for them."""
    import torch

    from vislab.cards import resolve
    from vislab.engine.measure import parameters

    card, module = registry.card(slug), registry.module(slug, "model")
    name = next(a.name for a in card.arms if a.role == "method")
    with torch.device("meta"):
        model = module.build(resolve(card, profile, name))
    counted = getattr(module, "counted", lambda network: network)(model)
    return counted if isinstance(counted, int) else parameters(counted)


def measured_steps(slug: str) -> list[dict[str, Any]]:
    """Paper-scale steps of `vislab bench`, one a device."""
    found = []
    for path in sorted((results_folder() / "bench").glob("*.json")):
        content = json.loads(path.read_text())
        row = content.get("papers", {}).get(slug)
        if row is not None:
            found.append({"name": content["device"], **row})
    return found
