"""Seconds that each chapter takes to execute, smoke beside tutorial (the latter from published records)."""

import os
import tempfile
import time
from pathlib import Path

from common import table

from vislab import registry


def execute(slug: str, profile: str) -> float:
    """Seconds of one execution by papermill, kernel start included."""
    import jupytext
    import papermill

    part = registry.places()[slug]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.ipynb"), Path(folder, "out.ipynb")
        jupytext.write(jupytext.read(Path("book", part, f"{slug}.md")), source)
        begin = time.perf_counter()
        papermill.execute_notebook(
            source, target, {"profile": profile, "device": "cpu"}, progress_bar=False, cwd=os.getcwd(), log_output=False
        )
        return time.perf_counter() - begin


def main() -> None:
    rows = []
    for slug in registry.slugs():
        smoke, tutorial = execute(slug, "smoke"), execute(slug, "tutorial")
        rows.append([slug, f"{smoke:.1f}", f"{tutorial:.1f}", f"{tutorial / smoke:.1f}"])
    table("Chapters by papermill", ["paper", "smoke s", "tutorial s", "ratio"], rows)


if __name__ == "__main__":
    main()
