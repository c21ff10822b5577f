"""The command line: `vislab` and `python -m vislab`."""

import errno
import json
import os
import re
import sys
import traceback
from typing import Annotated, Any

import typer

from vislab import registry
from vislab.cards import PARTS, CardError, pick, unknown
from vislab.errors import UserError

app = typer.Typer(
    name="vislab",
    help="A hundred vision papers as executable tutorials.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Slug = Annotated[str, typer.Argument(help="The paper's short name; `vislab papers` lists them.", metavar="SLUG")]
Slugs = Annotated[list[str] | None, typer.Argument(help="Papers' short names.", metavar="[SLUG]...")]
Profile = Annotated[str, typer.Option(help="smoke, tutorial, gpu or paper.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="no, fp16 or bf16.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Part = Annotated[str | None, typer.Option(help="One part of the book.")]
All = Annotated[bool, typer.Option("--all", help="Every paper.")]
Jobs = Annotated[int, typer.Option(help="Runs side by side; 0 means one a core, as far as memory goes.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a config field: field=value; field=one,two makes a grid.")
]


def _console(stderr: bool = False):
    from rich.console import Console

    # a pipe has no width of its own: tables are printed whole
    return Console(stderr=stderr, highlight=False, width=None if sys.stdout.isatty() else 240)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    for name in columns:
        table.add_column(escape(name), justify="left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    _console().print(table)


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """Seeds of "0-4", "3", "0,2,7-9" or "-1"; raises CardError for anything else."""
    if text is None:
        return None
    found: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(-?\d+)(?:-(-?\d+))?\s*", piece)
        if not match:
            raise CardError(f"seeds {text!r} are not integers or ranges such as 0-4 or 0,2,7-9")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise CardError(f"seeds {piece.strip()!r} run backwards")
        found.extend(range(first, last + 1))
    return tuple(dict.fromkeys(found))


def parse_changes(items: list[str] | None, option: str = "--set", form: str = "field=value") -> dict[str, str]:
    """{field: text} from `field=value` items; raises CardError for an item without a sign of equality."""
    changes = {}
    for item in items or []:
        name, equals, value = item.partition("=")
        if not equals:
            raise CardError(f"{option} wants {form}, got {item!r}")
        changes[name.strip()] = value
    return changes


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(t.strip() for t in text.split(",") if t.strip())


def _jobs(jobs: int) -> int:
    if jobs < 0:
        raise CardError(f"--jobs wants a number of at least 0, got {jobs}")
    return jobs


@app.command()
def papers(part: Part = None, as_json: AsJson = False) -> None:
    """List the papers of the book."""
    if part is not None and not registry.slugs(part):
        raise CardError(unknown(part, [p for p in PARTS if registry.slugs(p)], "part"))
    cards = [registry.card(s) for s in registry.slugs(part)]
    if as_json:
        _print_json([{"slug": c.slug, "part": c.part, "title": c.title, "year": c.year} for c in cards])
        return
    _table(f"{len(cards)} papers", ["slug", "part", "title"], [[c.slug, c.part, c.title] for c in cards])


@app.command()
def show(slug: Slug, as_json: AsJson = False) -> None:
    """Show a paper's card: arms, claims, profiles, reported numbers, data sets."""
    card = registry.card(slug)
    if as_json:
        _print_json(
            {
                "slug": card.slug,
                "part": card.part,
                "title": card.title,
                "summary": card.summary,
                "arms": [{"name": a.name, "role": a.role, "says": a.says, "profiles": a.profiles} for a in card.arms],
                "claims": [{"id": c.id, "statement": c.statement, "reported": c.reported} for c in card.claims],
                "metrics": [m.name for m in card.metrics],
                "profiles": list(card.profiles),
                "datasets": [d.name for d in card.datasets],
            }
        )
        return
    console = _console()
    console.print(f"{card.title} ({card.first_author}, {card.year})\n\n{card.summary}\n")
    rows = [[a.name, a.role, ", ".join(a.profiles), a.says] for a in card.arms]
    _table("Arms", ["name", "role", "profiles", "what it is"], rows)
    _table("\nClaims", ["id", "statement", "reported"], [[c.id, c.statement, c.reported] for c in card.claims])
    numbers = [[r.name, f"{r.value:g}", r.unit, r.setting, "" if r.confirmed else "unconfirmed"] for r in card.reported]
    _table("\nReported", ["name", "value", "unit", "setting", ""], numbers)
    _table("\nData sets", ["name", "folder", "page"], [[d.name, d.folder, d.page] for d in card.datasets])


@app.command()
def count(slug: Slug, profile: Profile = "paper", as_json: AsJson = False) -> None:
    """Count a network's parameters, without memory for them, beside the reported number."""
    from vislab.batch.scale import count as count_parameters

    numbers = count_parameters(slug, profile)
    if as_json:
        _print_json(numbers)
        return
    reported = numbers["reported"]
    beside = "" if reported is None else f"; reported {reported:,} ({numbers['parameters'] / reported - 1:+.2%})"
    print(f"{slug} at {profile}: {numbers['parameters']:,} parameters{beside if profile == 'paper' else ''}")


@app.command()
def run(
    slug: Slug,
    profile: Profile = "tutorial",
    arms: Annotated[str | None, typer.Option(help="Arms, separated by commas; default: the profile's.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds such as 0-4 or 0,2; default: the profile's.")] = None,
    device: Device = "auto",
    precision: Precision = "no",
    changes: Changes = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again even where a record exists.")] = False,
    jobs: Jobs = 0,
    as_json: AsJson = False,
) -> None:
    """Run a paper's arms and print the results and verdicts."""
    from vislab.batch.plan import plan
    from vislab.batch.sweep import combinations

    grid = combinations(registry.card(slug), parse_changes(changes))
    chosen = parse_seeds(seeds)
    every = [plan((slug,), profile, _names(arms), chosen, {slug: one}, device, precision) for one in grid]
    wanted = [p for planned in every for p in planned]
    results = _run(wanted, jobs, fresh, quiet=as_json)
    _raise_refused(results)
    if len(grid) > 1:
        _print_sweep(slug, profile, as_json)
        return
    found = _collected(slug, profile, wanted, chosen)
    if as_json:
        from vislab.batch.publish import run_json

        _print_json(run_json(found))
    else:
        _print_results(found, bool(changes) or chosen is not None or arms is not None)
    if any(r.status == "failed" for r in found.records):
        raise typer.Exit(1)


@app.command()
def reproduce(
    slugs: Slugs = None,
    part: Part = None,
    everything: All = False,
    profile: Profile = "tutorial",
    seeds: Annotated[str | None, typer.Option(help="Seeds such as 0-4; default: the profile's.")] = None,
    device: Device = "auto",
    precision: Precision = "no",
    jobs: Jobs = 0,
    chapters: Annotated[bool, typer.Option("--chapters", help="Then execute the chapters by papermill.")] = False,
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", help="Change a chapter's parameter or a config field, in runs and chapters: name=value."),
    ] = None,
    time_budget: Annotated[float | None, typer.Option(help="Start nothing new after this many minutes.")] = None,
    run_timeout: Annotated[float | None, typer.Option(help="Give up a run after this many minutes.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    backend: Annotated[str, typer.Option(help="local, or ray for a cluster (extra).")] = "local",
    address: Annotated[str | None, typer.Option(help="The Ray cluster's address; default: start one here.")] = None,
    per_gpu: Annotated[int, typer.Option(help="Runs that share a GPU.")] = 1,
) -> None:
    """Run many papers, resuming from the records that exist."""
    from vislab.batch.plan import choose, plan, split_parameters
    from vislab.batch.pool import workers

    pick(backend, {"local": 0, "ray": 1}, "backend")
    if per_gpu < 1:
        raise CardError(f"--per-gpu wants a number of at least 1, got {per_gpu}")

    names = choose(slugs or (), part, everything)
    own, changes = split_parameters(names, parse_changes(parameters, "-p", "name=value"))
    profile, device = own.get("profile", profile), own.get("device", device)
    chosen = parse_seeds(own["seed"] if seeds is None and "seed" in own else seeds)
    wanted = plan(names, profile, None, chosen, changes, device, precision)
    cuda = any(p.unit.device == "cuda" for p in wanted)
    _print_plan(wanted, workers(_jobs(jobs), cuda, per_gpu), chapters)
    if dry_run:
        return
    if backend == "ray":
        results = _run_on_cluster(wanted, address, per_gpu, _minutes(time_budget))
    else:
        results = _run(wanted, jobs, False, _minutes(time_budget), _minutes(run_timeout), per_gpu=per_gpu)
    explores = chosen is not None or bool(changes)
    every = {name: _collected(name, profile, [p for p in wanted if p.unit.slug == name], chosen) for name in names}
    for found in every.values():
        _print_results(found, explores)
    if len(names) > 1:
        _print_summary(every)
    left = sum(r.record is None and not r.refused for r in results)
    if left:
        print(f"{left} runs were not started; the same command goes on from here")
    elif chapters or parameters:
        _execute_chapters(names, profile, device, int(own.get("seed", 0)), changes, jobs)
    _raise_refused(results)
    if any(r.status == "failed" for found in every.values() for r in found.records):
        raise typer.Exit(1)


def _minutes(value: float | None) -> float | None:
    return None if value is None else 60 * value


def _run(
    wanted,
    jobs: int,
    fresh: bool = False,
    budget: float | None = None,
    timeout: float | None = None,
    quiet: bool = False,
    per_gpu: int = 1,
):
    """Run what has no record yet, showing on standard error what goes on; the results."""
    from vislab.batch.board import Board, lines, say
    from vislab.batch.pool import run_all, work, workers

    units = {p.unit: p.seconds for p in wanted if fresh or not p.done}
    if not units:
        return []
    if os.environ.get("VISLAB_DEBUG"):
        for unit in units:
            work(unit, fresh, debug=True)
        return []
    limits = (list(units), _jobs(jobs), fresh, budget, timeout)
    if not sys.stderr.isatty():
        return run_all(*limits, say if not quiet else lambda *_: None, per_gpu=per_gpu)

    from rich.live import Live

    cuda = any(u.device == "cuda" for u in units)
    board = Board(units, workers(_jobs(jobs), cuda, per_gpu))
    with Live(board, console=_console(stderr=True), refresh_per_second=4, transient=True) as live:

        def ended(result, done: int, total: int) -> None:
            board.ended(result)
            live.console.print("\n".join(lines(result)), markup=False)

        return run_all(*limits, ended, board.begun, per_gpu=per_gpu)


def _run_on_cluster(wanted, address: str | None, per_gpu: int, budget: float | None):
    """As `_run`, on a Ray cluster."""
    from vislab.batch.board import say
    from vislab.batch.cluster import run_all

    return run_all([p.unit for p in wanted if not p.done], address, per_gpu, time_budget=budget, report=say)


def _raise_refused(results) -> None:
    """UserError with what was wrong with the input of runs, each message once."""
    messages = dict.fromkeys(r.error for r in results if r.refused)
    if messages:
        raise UserError("\n".join(messages))


def _execute_chapters(names, profile: str, device: str, seed: int, changes, jobs: int) -> None:
    from vislab.batch.book import ROOT, chapter, execute, executed_path
    from vislab.batch.pool import workers

    found = [chapter(name, profile, device, seed=seed, changes=changes.get(name, {})) for name in names]
    execute(found, workers(_jobs(jobs)), ROOT / "_build", lambda line: print(line, file=sys.stderr))
    for one in found:
        print(f"chapter {executed_path(one, ROOT / '_build')}")


def _collected(slug: str, profile: str, wanted, seeds: tuple[int, ...] | None):
    from vislab.cards import SEEDS
    from vislab.engine.collect import put_together
    from vislab.engine.records import find_record

    units = [p.unit for p in wanted if p.unit.slug == slug]
    records = [r for u in units if (r := find_record(u.slug, u.key)) is not None]
    return put_together(registry.card(slug), profile, units, records, seeds or SEEDS[profile])


def _print_results(found, explores: bool) -> None:
    from vislab.engine.verdicts import chance, interval

    card = found.card
    names = [m for m in card.metrics if any(m.name in values for values in found.arms.values())]
    rows = []
    for arm, values in found.arms.items():
        row = [arm]
        for metric in names:
            numbers = [v for v in values.get(metric.name, []) if v is not None]
            mean, low, _ = interval(numbers) if numbers else (None, None, None)
            spread = "" if mean is None or len(numbers) < 2 else f" ± {mean - low:.{metric.digits}f}"
            row.append("-" if mean is None else f"{mean:.{metric.digits}f}{spread}")
        rows.append(row)
    heads = ["arm"] + [f"{m.name} [{m.unit}]" if m.unit else m.name for m in names]
    _table(f"\n{card.slug} at {found.profile}, seeds {', '.join(map(str, found.seeds))}", heads, rows)
    if found.compare:
        _table("\nCompared", ["what", "value"], [[k, f"{v:.4g}"] for k, v in found.compare.items()])
    if explores:
        print("These runs explore; verdicts are taken on the profile's own arms, seeds and configuration.")
    elif not found.judged:
        print(f"Claims are not judged at {found.profile}.")
    else:
        rows = []
        for j in found.judged:
            rows.append([j.id, j.kind, j.says, _effect(j), j.verdict + (f" ({j.why})" if j.why else "")])
        _table("\nVerdicts", ["claim", "part", "what is compared", "effect [95%]", "verdict"], rows)
        print(f"Chance alone would give {chance(found.judged):.1f} 'reproduced' among the parts judged by an interval.")


def _print_sweep(slug: str, profile: str, as_json: bool) -> None:
    import dataclasses

    from vislab.batch import sweep

    found = sweep.points(slug, profile)
    if as_json:
        _print_json([dataclasses.asdict(p) for p in found])
        return
    metrics = [m.name for m in registry.card(slug).metrics if any(p.metrics.get(m.name) for p in found)]
    _table(f"Sweeps of {slug} at {profile}", *sweep.table(found, metrics))


def _effect(judged) -> str:
    if judged.effect is None:
        return "-"
    if judged.low is None:
        return f"{judged.effect:.4g}"
    return f"{judged.effect:.4g} [{judged.low:.4g}, {judged.high:.4g}]"


def _print_plan(wanted, jobs: int, chapters: bool = False) -> None:
    """What is there, what will run, and how long it will take by past records; a row a paper, then the sum."""
    rows = []
    for slug in dict.fromkeys(p.unit.slug for p in wanted):
        mine = [p for p in wanted if p.unit.slug == slug]
        todo = [p for p in mine if not p.done]
        arms = ", ".join(dict.fromkeys(p.unit.arm for p in todo))
        rows.append([slug, str(len(mine)), str(len(mine) - len(todo)), str(len(todo)), _guess(todo, 1), arms])
    _table("Plan", ["paper", "runs", "recorded", "to run", "core-time", "arms to run"], rows)
    todo = [p for p in wanted if not p.done]
    after = "; then the chapters by papermill" if chapters else ""
    guess = f"{_guess(todo, jobs)} on {jobs} workers" if todo else "nothing to do"
    print(f"{len(wanted)} runs: {len(wanted) - len(todo)} recorded, {len(todo)} to run; {guess}{after}")


def _guess(todo, jobs: int) -> str:
    """The time that runs will take on `jobs` workers, by past records."""
    known = [p.seconds for p in todo if p.seconds is not None]
    if not todo:
        return "none"
    if not known:
        return "no past run to estimate from"
    rest = f", {len(todo) - len(known)} runs without an estimate" if len(known) < len(todo) else ""
    return f"about {sum(known) / 60 / jobs:.1f} min{rest}"


def _print_summary(every) -> None:
    """A row a paper: runs done, failed and missing, and each claim's verdict."""
    from vislab.engine.verdicts import worst

    rows = []
    for slug, found in every.items():
        verdicts: dict[str, list[str]] = {}
        for j in found.judged:
            verdicts.setdefault(j.id, []).append(j.verdict)
        failed = sum(r.status == "failed" for r in found.records)
        said = "; ".join(f"{claim} {worst(words)}" for claim, words in verdicts.items()) or "not judged"
        rows.append([slug, str(len(found.records) - failed), str(failed), str(len(found.missing)), said])
    _table("\nSummary", ["paper", "done", "failed", "missing", "claims"], rows)


@app.command()
def plan(slug: Slug, profile: Profile = "tutorial", device: Device = "auto", as_json: AsJson = False) -> None:
    """Show arms x seeds x measured seconds of a paper against the budget."""
    from vislab.batch.plan import plan as make_plan

    wanted = make_plan((slug,), profile, device=device)
    rows: dict[str, dict[str, Any]] = {}
    for p in wanted:
        row = rows.setdefault(p.unit.arm, {"seeds": 0, "recorded": 0, "seconds": p.seconds})
        row["seeds"] += 1
        row["recorded"] += p.done
    total = sum((r["seconds"] or 0) * r["seeds"] for r in rows.values())
    if as_json:
        _print_json({"slug": slug, "profile": profile, "arms": rows, "seconds": total})
        return
    cells = [
        [arm, str(r["seeds"]), str(r["recorded"]), "-" if r["seconds"] is None else f"{r['seconds']:.1f}"]
        for arm, r in rows.items()
    ]
    _table(f"{slug} at {profile}", ["arm", "seeds", "recorded", "seconds a run"], cells)
    budget = {"tutorial": " of the 720 allowed", "smoke": " of the 15 allowed"}.get(profile, "")
    print(f"{total:.0f} core-seconds in all{budget}")


@app.command()
def tune(
    slug: Slug,
    arms: Annotated[str | None, typer.Option(help="Arms, separated by commas; default: all of the grid.")] = None,
    device: Device = "auto",
) -> None:
    """Try the card's grids on seed 100 and the validation split; write results/tuning/SLUG.json."""
    from vislab.engine.tune import tune as run_grids
    from vislab.engine.tune import untuned

    card = registry.card(slug)
    room = registry.module(slug, "card")
    chosen = _names(arms)
    for arm in chosen or ():
        pick(arm, room.TUNING, f"tuned arm of {slug}")
    train = registry.module(slug, "train").train
    experiment = registry.module(slug, "experiment")
    content = run_grids(card, room.TUNING, room.TUNING_METRIC, train, experiment, chosen, device=device, say=print)
    for line in untuned(card, room.TUNING, content):
        print(f"to do in the card: {line}")


@app.command()
def publish(
    slugs: Slugs = None, everything: All = False, profile: Profile = "tutorial", device: Device = "auto"
) -> None:
    """Copy judged records to results/, the only command that writes there besides tune and bench."""
    from vislab.batch.plan import choose
    from vislab.batch.publish import publish as publish_one

    for slug in choose(slugs or (), None, everything):
        print(f"wrote {publish_one(slug, profile, device)}")


@app.command()
def report(
    profile: Profile = "tutorial",
    as_json: AsJson = False,
    html: Annotated[str | None, typer.Option(help="Write one self-contained page to this file.")] = None,
    table: Annotated[str | None, typer.Option("--csv", help="Write comma-separated values to this file.")] = None,
    sweeps: Annotated[str | None, typer.Option("--sweep", help="Show the grids run for this paper instead.")] = None,
) -> None:
    """Print the published verdicts of every paper at a profile; say which changed since the last report."""
    from pathlib import Path

    from vislab.batch import report as make
    from vislab.engine.files import write_atomically
    from vislab.viz.sections import effect

    if sweeps is not None:
        registry.room(sweeps)
        _print_sweep(sweeps, profile, as_json)
        return
    rows = make.rows(profile)
    for path, text in ((html, make.as_html), (table, lambda _, found: make.as_csv(found))):
        if path is not None:
            write_atomically(Path(path), text(profile, rows).encode())
            print(f"wrote {path}", file=sys.stderr)
    if as_json:
        _print_json(rows)
    elif html is None and table is None:
        cells = [
            [
                r["paper"],
                r["claim"],
                r["compared"],
                effect(r),
                r["verdict"],
                "code changed since" if r["code changed"] else "",
            ]
            for r in rows
        ]
        _table(f"Published verdicts at {profile}", ["paper", "claim", "part", "effect [95%]", "verdict", ""], cells)
    for line in make.changes(rows):
        print(f"changed since the last report: {line}", file=sys.stderr)
    make.remember(profile, rows)


@app.command()
def book(
    slugs: Slugs = None,
    profile: Profile = "tutorial",
    jobs: Jobs = 0,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the built pages on this machine.")] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="Run the arms again instead of using results/.")] = False,
    api: Annotated[bool, typer.Option("--api", help="Build the reference pages of the package too.")] = False,
) -> None:
    """Execute the chapters and build the book under _build/."""
    from vislab.batch.book import build
    from vislab.batch.book import serve as serve_pages
    from vislab.batch.pool import workers

    for slug in slugs or ():
        registry.room(slug)
    html = build(tuple(slugs or ()) or None, profile=profile, jobs=workers(_jobs(jobs)), retrain=retrain, api=api)
    print(f"built {html / 'index.html'}")
    if serve:
        serve_pages(html)


@app.command()
def new(
    part: Annotated[str, typer.Argument(help="A part of the book.", metavar="PART")],
    slug: Annotated[str, typer.Argument(help="A short lower-case name.", metavar="SLUG")],
) -> None:
    """Begin a new paper: its room, chapter and test from templates that run, with all that is left to write marked."""
    from vislab.batch.new import new as begin

    for path in begin(part, slug):
        print(path)
    print(f"next: grep -rn 'TO WRITE' and pytest tests/papers/test_{slug}.py tests/contract -k {slug}")


@app.command()
def bench(slugs: Slugs = None, everything: All = False, device: Device = "auto", as_json: AsJson = False) -> None:
    """Measure one training step of each paper at the paper's own scale; write results/bench/<device>.json."""
    from vislab.batch.bench import bench as measure
    from vislab.batch.plan import choose
    from vislab.viz.sections import gibibytes

    rows = measure(choose(slugs or (), None, everything or not slugs), device)
    if as_json:
        _print_json(rows)
        return
    cells = [
        [r["slug"], r["device"], f"{r['seconds']:.2f}", gibibytes(r["peak_bytes"]), f"{r['parameters'] or 0:,}"]
        for r in rows
    ]
    _table("One training step at paper scale", ["paper", "device", "seconds", "peak GiB", "parameters"], cells)


@app.command()
def data(slug: Annotated[str | None, typer.Argument(metavar="[SLUG]")] = None) -> None:
    """Say which real data sets the papers use, how they are laid out, and which are here."""
    from vislab.datasets.base import root

    for name in (slug,) if slug else registry.slugs():
        for dataset in registry.card(name).datasets:
            place = root() / dataset.folder
            here = "here" if place.is_dir() and any(place.iterdir()) else "not here"
            print(f"{name}: {dataset.name} at {place} ({here}), from {dataset.page}")
            if slug:
                print(dataset.layout + "\n")


zoo_app = typer.Typer(help="The small networks that ship with the package.", no_args_is_help=True)
app.add_typer(zoo_app, name="zoo")
Member = Annotated[str, typer.Argument(help="A zoo member's name; `vislab zoo list` shows them.", metavar="NAME")]


@zoo_app.command("list")
def zoo_list(as_json: AsJson = False) -> None:
    """List the zoo: what each member does, its size, the metrics of its shipped weights, its real counterparts."""
    from vislab import zoo
    from vislab.engine.weights import weights_path

    rows = []
    for name in registry.zoo_names():
        found, path = zoo.member(name), weights_path(name)
        header = zoo.read(name)[1] if path.exists() else {"parameters": 0, "metrics": {}}
        rows.append(
            {
                "name": name, "says": found.says, "version": found.version, "parameters": header["parameters"],
                "bytes": path.stat().st_size if path.exists() else 0, "metrics": header["metrics"],
                "sources": ["world", *found.sources],
            }
        )  # fmt: skip
    if as_json:
        _print_json(rows)
        return
    _table(
        "The zoo",
        ["name", "what it does", "parameters", "MB", "metrics of the weights", "sources"],
        [
            [
                r["name"], r["says"], f"{r['parameters']:,}", f"{r['bytes'] / 1e6:.2f}" if r["bytes"] else "missing",
                ", ".join(f"{k} {v:.4g}" for k, v in r["metrics"].items()), "; ".join(r["sources"]),
            ]
            for r in rows
        ],
    )  # fmt: skip


@zoo_app.command("train")
def zoo_train(name: Member, device: Device = "auto") -> None:
    """Train a member by its recipe and write its weights to data/zoo."""
    from vislab import zoo
    from vislab.engine.run import device_type

    _console().print(zoo.make(name, device_type(device), say=print)["metrics"])


@zoo_app.command("check")
def zoo_check(name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None) -> None:
    """Measure the shipped weights again and compare with the metrics in their header; exit code 2 where they differ."""
    from vislab import zoo

    rows, wrong = [], []
    for member in [name] if name else registry.zoo_names():
        for metric, (recorded, measured, near) in zoo.check(member).items():
            rows.append(["ok" if near else "!!", member, metric, f"{recorded:.4g}", f"{measured:.4g}"])
            wrong += [] if near else [f"{member}: {metric} is {measured:.4g}, its header says {recorded:.4g}"]
    _table("The zoo's weights", ["", "member", "metric", "recorded", "now"], rows)
    if wrong:
        raise UserError("; ".join(wrong))


@app.command()
def doctor() -> None:
    """Check Python, torch with torchvision's operators, CUDA, chromium, folders."""
    from vislab.batch.doctor import checks

    found = checks()
    _table("vislab doctor", ["", "what", "found"], [["ok" if c.ok else "!!", c.what, c.found] for c in found])
    bad = [c for c in found if not c.ok and c.needed]
    if bad:
        raise UserError("; ".join(f"{c.what}: {c.advice}" for c in bad))


def main() -> None:
    """Run the command line: 2 for wrong input or a missing file, 130 on interrupt, a traceback only with --debug."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if debug:
        os.environ["VISLAB_DEBUG"] = "1"
    try:
        code = app(arguments, standalone_mode=False)
        if code == 130:  # typer turns an interrupt into this exit code
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except KeyboardInterrupt:
        _fail(debug, "interrupted; finished runs are kept, the same command goes on from here", 130)
    except UserError as error:
        _fail(debug, str(error), 2)
    except OSError as error:
        if error.errno == errno.EPIPE:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        _fail(
            debug,
            f"{error.filename or 'a file'} cannot be written: {error.strerror}; nothing already written was lost",
            2,
        )
    except Exception as error:
        if type(error).__name__ == "Abort":
            _fail(debug, "interrupted; finished runs are kept, the same command goes on from here", 130)
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show()
            sys.exit(error.exit_code)
        raise


def _fail(debug: bool, message: str, code: int) -> None:
    if debug:
        traceback.print_exc()
    print(f"vislab: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
