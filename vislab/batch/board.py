"""What a batch is doing while it runs: a table that renews itself on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vislab.batch.pool import Result, last_lines, log_path
from vislab.engine.run import Unit

if TYPE_CHECKING:
    from rich.table import Table


class Board:
    """Counts of done, failed and waiting runs, the running ones with their seconds, and what is expected to be left."""

    def __init__(self, expected: Mapping[Unit, float | None], jobs: int):
        self.expected, self.jobs = expected, jobs
        self.left = set(expected)
        self.running: dict[Unit, float] = {}
        self.done = self.failed = 0
        self.start = time.monotonic()

    def begun(self, unit: Unit) -> None:
        """A run was handed to a worker."""
        self.running[unit] = time.monotonic()

    def ended(self, result: Result) -> None:
        """A run has its record, or will get none."""
        self.running.pop(result.unit, None)
        self.left.discard(result.unit)
        good = result.record is not None and result.record.status == "done"
        self.done += good
        self.failed += not good

    def __rich__(self) -> "Table":
        from rich.table import Table

        known = [s for u in self.left if (s := self.expected[u]) is not None]
        seconds = sum(known) / self.jobs
        guess = f", about {seconds / 60:.1f} min left" if known else ""
        waiting = len(self.left) - len(self.running)
        took = (time.monotonic() - self.start) / 60
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_row(f"{self.done} done, {self.failed} failed, {waiting} waiting; {took:.1f} min{guess}", "")
        for unit, begin in list(self.running.items()):
            usual = self.expected[unit]
            of = f" of about {usual:.0f}" if usual is not None else ""
            table.add_row(f"  {unit.name}", f"{time.monotonic() - begin:.0f}{of} s")
        return table


def lines(result: Result) -> list[str]:
    """What is said of a finished run: its state and time; of a failed one the end of its error and where its log lies."""
    record = result.record
    if record is None:
        return [f"{result.unit.name}: {'refused' if result.refused else 'not started'}"]
    found = [f"{result.unit.name}: {record.status} in {record.seconds:.1f} s"]
    if record.status == "failed":
        end = (last_lines(result.unit, 4) or record.error.strip()).splitlines()[-4:]
        found += [f"    {line}" for line in [*end, f"the whole log: {log_path(result.unit)}"]]
    return found


def say(result: Result, done: int, total: int) -> None:
    """Plain lines on standard error for a finished run."""
    first, *rest = lines(result)
    print(f"[{done}/{total}] {first}", *rest, sep="\n", file=sys.stderr)
