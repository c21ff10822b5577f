"""All published results as one self-contained page and a table of values; what changed since the last report is flagged."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vislab import registry
from vislab.batch import sweep
from vislab.cards import resolve
from vislab.engine.code import code_hash
from vislab.engine.files import write_atomically
from vislab.engine.records import Published, read_published, runs_folder
from vislab.engine.run import as_dict
from vislab.errors import UserError
from vislab.viz.sections import CLASSES, COLOURS, effect, minutes, overall

COLUMNS = (
    "paper", "part of the book", "claim", "statement", "reported", "compared", "effect", "low", "high", "verdict", "before",
    "device", "seconds", "torch", "code changed",
)  # fmt: skip
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
th{border-bottom:2px solid #555}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.v{border:1px solid;border-radius:1em;padding:0 .6em;white-space:nowrap}.flag{background:#fff3cd}.note{color:#555}
img{max-width:100%}
"""


def state_path() -> Path:
    """Where the verdicts of the last report are kept."""
    return runs_folder() / "report.json"


def rows(profile: str) -> list[dict[str, Any]]:
    """A row for every part of every published claim, with the verdict of the last report where it was another.

    Raises UserError for a damaged memory of the last report.
    """
    before = _remembered().get(profile, {})
    found = []
    for slug in registry.slugs():
        record = read_published(profile, slug)
        if record is not None:
            found += _of_paper(slug, record, before)
    return found


def _of_paper(slug: str, record: Published, before: Mapping[str, str]) -> list[dict[str, Any]]:
    card = registry.card(slug)
    changed = code_hash(registry.room(slug) / "experiment.py") != record.code_hash
    claims = {c.id: c for c in card.claims}
    found = []
    for row in record.claims:
        claim = claims.get(row["id"])
        says = claim.parts[row["part"]].says if claim and row["part"] < len(claim.parts) else row["kind"]
        name = f"{slug} {row['id']} {row['part']}"
        last = before.get(name, row["verdict"])
        found.append({
            "paper": slug, "part of the book": card.part, "claim": row["id"], "statement": claim.statement if claim else "",
            "reported": claim.reported if claim else "", "compared": says, "effect": row["effect"], "low": row["low"],
            "high": row["high"], "verdict": row["verdict"], "before": last if last != row["verdict"] else "",
            "device": record.device_name, "seconds": record.cpu_seconds, "torch": record.versions.get("torch", ""),
            "code changed": changed, "id": name,
        })  # fmt: skip
    return found


def _remembered() -> dict[str, dict[str, str]]:
    path = state_path()
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"the memory of the last report, {path}, is damaged ({error}); delete it to go on") from error


def remember(profile: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Keep the verdicts of this report for the next one."""
    memory = _remembered()
    kept = {r["id"]: r["verdict"] for r in found}
    write_atomically(state_path(), (json.dumps(memory | {profile: kept}, indent=1, sort_keys=True) + "\n").encode())


def changes(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for every verdict that is another than in the last report."""
    return [
        f"{r['paper']} {r['claim']}, {r['compared']}: {r['before']} -> {r['verdict']}" for r in found if r["before"]
    ]


def as_csv(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as comma-separated values with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def as_html(profile: str, found: Sequence[Mapping[str, Any]]) -> str:
    """The whole report as one page that needs no other file: counts, changes, verdicts, papers, sweeps."""
    from collections import Counter

    claims = Counter()
    for slug in dict.fromkeys(r["paper"] for r in found):
        record = read_published(profile, slug)
        for claim in registry.card(slug).claims:
            claims[overall(record.claims, claim.id)] += 1
    counted = ", ".join(f"{n} {escape(v)}" for v, n in claims.most_common()) or "nothing is published yet"
    lines = "".join(f"<li>{escape(line)}</li>" for line in changes(found))
    changed = f"<h2>Changed since the last report</h2><ul>{lines}</ul>" if lines else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>vislab: results at {escape(profile)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>Results at {escape(profile)}</h1><p>Claims: {counted}.</p>{changed}"
        f"<h2>Verdicts</h2>{_verdicts(found)}<h2>Papers</h2>{_papers(profile)}{_sweeps(profile)}</html>\n"
    )


def _table(heads: Sequence[str], body: Sequence[str]) -> str:
    return f"<table><thead><tr>{''.join(f'<th>{escape(h)}</th>' for h in heads)}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _verdicts(found: Sequence[Mapping[str, Any]]) -> str:
    body = []
    for row in found:
        colour = COLOURS[CLASSES.get(row["verdict"], "untested")]
        notes = [f"before: {row['before']}"] if row["before"] else []
        notes += ["code changed since"] if row["code changed"] else []
        note = f'<br><span class="note">{escape("; ".join(notes))}</span>' if notes else ""
        body.append(
            f"<tr{' class=flag' if row['before'] else ''}><td>{escape(row['paper'])} {escape(row['claim'])}</td>"
            f"<td>{escape(row['statement'])}</td><td>{escape(row['compared'])}</td><td>{escape(row['reported'])}</td>"
            f'<td class="n">{escape(effect(row))}</td>'
            f'<td><span class="v" style="color:{colour};border-color:{colour}">{escape(row["verdict"])}</span>{note}</td></tr>'
        )
    return _table(("claim", "statement", "what is compared", "the paper's", "ours [95% interval]", "verdict"), body)


def _papers(profile: str) -> str:
    body = []
    for slug in registry.slugs():
        record = read_published(profile, slug)
        if record is None:
            continue
        versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
        body.append(
            f'<tr><td>{escape(slug)}</td><td class="n">{escape(minutes(record.cpu_seconds))}</td>'
            f"<td>{escape(record.device_name)}, {record.threads} thread{'s' if record.threads > 1 else ''}</td>"
            f'<td class="note">{escape(versions)}</td></tr>'
        )
    return _table(("paper", "all arms and seeds", "device", "environment"), body)


def _sweeps(profile: str) -> str:
    found = []
    for slug in registry.slugs():
        points = sweep.points(slug, profile)
        if points:
            metric = registry.module(slug, "card").TUNING_METRIC
            heads, body = sweep.table(points, [metric])
            cells = ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in body]
            found.append(f"<h3>{escape(slug)}</h3>{_table(heads, cells)}{_plots(slug, profile, points, metric)}")
    return f"<h2>Sweeps</h2>{''.join(found)}" if found else ""


def _plots(slug: str, profile: str, points: Sequence[sweep.Point], metric: str) -> str:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    card = registry.card(slug)
    usual = {p.arm: as_dict(resolve(card, profile, p.arm)) for p in points}
    found = []
    for field, lines in sweep.curves(points, usual, metric).items():
        figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
        for arm, (x, y) in lines.items():
            axis.plot(x, y, "o-", label=arm)
        axis.set(xlabel=field, ylabel=metric)
        axis.legend()
        text = io.StringIO()
        figure.savefig(text, format="svg")
        plt.close(figure)
        label = escape(f"{metric} of {slug} over {field}")
        found.append(
            f'<figure role="img" aria-label="{label}">{text.getvalue()[text.getvalue().index("<svg") :]}</figure>'
        )
    return "".join(found)
