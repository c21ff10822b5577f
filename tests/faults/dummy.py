"""A paper whose runs take no torch and a few milliseconds, put into the registry of this process, and a batch over it.

Run as a script: `dummy.py SEEDS JOBS [MILLISECONDS]` reproduces it under VISLAB_RUNS and prints its process ids.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from vislab import registry
from vislab.cards import Arm, Claim, Paper, Part, metric
from vislab.engine import run
from vislab.engine.records import runs_folder
from vislab.errors import UserError

SLUG = "dummy"


@dataclass(frozen=True)
class Config:
    steps: int = 3


PAPER = Paper(
    slug=SLUG, part="recognition", title="Dummy", first_author="Nobody", year=2023, summary="adds numbers", links={}, reported=(),
    metrics=(metric("accuracy"),), arms=(Arm("one", "counts", "method"), Arm("two", "counts twice", "baseline", {"steps": 6})),
    claims=(Claim("C1", "two counts further", "", (Part("difference", "accuracy", ("two", "one"), ""),)),),
    config=Config, profiles=dict.fromkeys(("smoke", "tutorial", "gpu", "paper"), Config()), trains=False, network=False,
)  # fmt: skip
DELAY = 0.0
FAULTS: dict[int, str] = {}
"""{seed: what goes wrong there}."""


def go_wrong(kind: str) -> None:
    """What a run may do to its process; "once" things leave a mark, so that the second try goes well."""
    print("something is about to go wrong", flush=True)
    mark = runs_folder() / f"{kind}-happened"
    if kind == "refuse":
        raise UserError("the data set is missing")
    if kind == "raise":
        raise ValueError("wrong from the start")
    if mark.exists():
        return
    mark.touch()
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    raise RuntimeError(f"{kind}: CUDA error: an illegal memory access was encountered")


def compute(config, seed, accelerator, shared=None):
    if seed in FAULTS:
        go_wrong(FAULTS[seed])
    mark = runs_folder() / f"busy-{os.getpid()}"  # who is in the middle of a run
    mark.touch()
    time.sleep(DELAY)
    mark.unlink()
    return SimpleNamespace(metrics={"accuracy": 100 * seed + config.steps}, artifacts={})


def install(delay: float = 0.0) -> None:
    """Let the registry find the dummy; its runs ask for no accelerator."""
    global DELAY
    DELAY = delay
    experiment = SimpleNamespace(__file__=__file__, run=compute)
    rooms = {"experiment": experiment, "card": SimpleNamespace(PAPER=PAPER)}
    module, room, card = registry.module, registry.room, registry.card
    registry.module = lambda slug, name: rooms[name] if slug == SLUG else module(slug, name)
    registry.room = lambda slug: Path(__file__).parent if slug == SLUG else room(slug)
    registry.card = lambda slug: PAPER if slug == SLUG else card(slug)
    run.make_accelerator = lambda *_: None


def install_slowly() -> None:
    """As `install`, with runs of 0.2 s: what a Ray worker calls when it starts."""
    install(0.2)


def units(seeds: int):
    """One unit for every arm and seed."""
    return run.units(PAPER, registry.module(SLUG, "experiment"), "smoke", None, tuple(range(seeds)), device="cpu")


def main() -> None:
    seeds, jobs, delay = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0.0
    install(delay)
    from vislab.batch.pool import run_all

    print("parent", os.getpid(), flush=True)
    results = run_all(units(seeds), jobs, report=lambda result, done, total: print("done", done, flush=True))
    assert "torch" not in sys.modules
    print("all", sum(r.record is not None and r.record.status == "done" for r in results), flush=True)


if __name__ == "__main__":
    main()
