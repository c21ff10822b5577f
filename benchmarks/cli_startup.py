"""Start-up of the command line and of the imports that a chapter begins with, beside a bare interpreter."""

import statistics
import subprocess
import sys

from common import table, timed

SIDES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import vislab": [sys.executable, "-c", "import vislab"],
    "vislab papers": [sys.executable, "-m", "vislab", "papers"],
    "vislab show balpoe": [sys.executable, "-m", "vislab", "show", "balpoe"],
    "import torch": [sys.executable, "-c", "import torch"],
    "from vislab import viz": [sys.executable, "-c", "from vislab import viz"],
}


def main() -> None:
    calls = {n: lambda c=c: subprocess.run(c, check=True, stdout=subprocess.DEVNULL) for n, c in SIDES.items()}
    times = timed(calls, repeats=7)
    bare = statistics.median(times["python -c pass"])
    rows = [[name, f"{statistics.median(t):.3f}", f"{statistics.median(t) / bare:.1f}"] for name, t in times.items()]
    table("Start-up", ["command", "seconds (median of 7)", "of a bare interpreter"], rows)


if __name__ == "__main__":
    main()
