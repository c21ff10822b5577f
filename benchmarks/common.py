"""What the benchmark scripts share: interleaved timing and a table."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from vislab.engine.measure import interleaved


def timed(sides, repeats=10, warmup=1):
    """Seconds of each side, interleaved."""
    return interleaved(sides, repeats, warmup)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print rows under a title, columns aligned."""
    widths = [max(len(str(r[k])) for r in [columns, *rows]) for k in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, ["-" * w for w in widths], *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))
