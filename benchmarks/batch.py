"""What a batch costs beyond its runs: overhead a run, speed-up over workers, planning, memory with many records."""

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "faults"))
import dummy

from vislab.batch.plan import plan
from vislab.batch.pool import run_all

RUN, SEEDS, MANY = 0.2, 40, 5000


def batch(jobs: int, seeds: int, delay: float) -> float:
    """Seconds of a batch of two arms in a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VISLAB_RUNS"] = folder
        dummy.install(delay)
        begin = time.perf_counter()
        run_all(dummy.units(seeds), jobs)
        return time.perf_counter() - begin


def main() -> None:
    one, two = batch(1, SEEDS, RUN), batch(2, SEEDS, RUN)
    count = 2 * SEEDS
    rows = [
        ["overhead a run, one worker", f"{(one - count * RUN) / count:.3f} s", "0.2 s"],
        ["two workers over one", f"{one / two:.2f} times", ""],
    ]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VISLAB_RUNS"] = folder
        dummy.install(0.0)
        begin = time.perf_counter()
        plan(("dummy",), "smoke", seeds=tuple(range(MANY)), device="cpu")
        rows.append([f"plan of {2 * MANY} units, none recorded", f"{time.perf_counter() - begin:.2f} s", "2 s"])
        for unit in dummy.units(MANY):
            dummy.run.execute(unit, dummy.PAPER, dummy.registry.module("dummy", "experiment"))
        begin = time.perf_counter()
        plan(("dummy",), "smoke", seeds=tuple(range(MANY)), device="cpu")
        rows.append([f"plan of {2 * MANY} units, all recorded", f"{time.perf_counter() - begin:.2f} s", "2 s"])
        rows.append(["memory of the parent then", f"{psutil.Process().memory_info().rss / 2**20:.0f} MiB", "300 MB"])
    assert "torch" not in sys.modules
    print("\nA batch of runs that take 0.2 s, torch not loaded")
    for what, measured, target in [("what", "measured", "target"), *rows]:
        print(f"{what:36}{measured:14}{target}")


if __name__ == "__main__":
    main()
