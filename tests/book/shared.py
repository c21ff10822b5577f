"""One build folder a test session, shared by all workers, with records for every paper."""

import os
import shutil
from pathlib import Path

from filelock import FileLock

from vislab import registry
from vislab.batch import book
from vislab.cards import SEEDS, claims_hash
from vislab.engine.files import write_atomically
from vislab.engine.records import Published, canonical
from vislab.engine.run import as_dict
from vislab.engine.verdicts import VERDICTS

PROFILE = "smoke"
DEVICE = "cpu"


def folder(factory) -> Path:
    """The folder that all workers of this session see."""
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "book"


def results(place: Path) -> Path:
    """A copy of the published results, filled up with invented records for papers that have none."""
    found = place / "results"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / "results.lock"):
        if not found.exists():
            partial = place / "results.partial"
            shutil.copytree(book.ROOT / "results", partial, dirs_exist_ok=True)
            for slug in registry.slugs():
                path = partial / "tutorial" / f"{slug}.json"
                if not path.exists():
                    write_atomically(path, canonical(invented(slug).model_dump()).encode())
            partial.rename(found)
    return found


def invented(slug: str) -> Published:
    """A published record of a paper with plausible numbers and every verdict in turn."""
    card = registry.card(slug)
    seeds = SEEDS["tutorial"]
    arms = {
        arm.name: {m.name: [20.0 + k + 0.1 * s for s in seeds] for k, m in enumerate(card.metrics)}
        for arm in card.arms_at("tutorial")
    }
    claims = []
    for claim in card.claims:
        for k, part in enumerate(claim.parts):
            verdict = VERDICTS[len(claims) % len(VERDICTS)]
            tested = verdict not in ("failed", "not tested here")
            numbers = {"effect": 1.5, "low": 1.25, "high": 1.75} if tested else dict.fromkeys(("effect", "low", "high"))
            why = "" if tested else "invented for the tests"
            row = {"id": claim.id, "part": k, "kind": part.kind, "per_seed": [1.5] * 5 if tested else []}
            claims.append(row | numbers | {"verdict": verdict, "why": why})
    return Published(
        slug=slug,
        profile="tutorial",
        device="cpu",
        device_name="test",
        threads=1,
        versions={"torch": "0"},
        code_hash="0" * 16,
        claims_hash=claims_hash(card),
        seeds=list(seeds),
        config=as_dict(card.profile("tutorial")),
        arms=arms,
        compare={"seconds_ratio": 0.5, "seconds_ratio_low": 0.4, "seconds_ratio_high": 0.6} if card.compares else {},
        claims=claims,
        cpu_seconds=321.0,
    )


def chapter(slug: str) -> book.Chapter:
    """The chapter at smoke on the CPU."""
    return book.chapter(slug, PROFILE, DEVICE)


def executed(slug: str, place: Path):
    """The chapter's executed notebook; executed once a session."""
    return book.execute([chapter(slug)], 1, place / "_build", lambda _line: None)[slug]


def pages(place: Path) -> Path:
    """The built book; built once a session."""
    html = place / "_build" / "html"
    with FileLock(place / "pages.lock"):
        if not (place / "pages.done").exists():
            book.build(profile=PROFILE, jobs=2, device=DEVICE, out=place / "_build", report=lambda _line: None)
            (place / "pages.done").touch()
    return html
