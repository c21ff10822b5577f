"""Every chapter runs at smoke by papermill, and gives the same marked outputs when nbval runs it again."""

import os
import subprocess
import sys

import nbformat
import pytest

from tests.book import shared
from vislab import registry

each = pytest.mark.parametrize("slug", registry.slugs())


@each
def test_papermill_executes_it_at_smoke(slug, place, published):
    notebook = shared.executed(slug, place)
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    assert all(c.execution_count is not None for c in cells)
    outputs = [(c, o) for c in cells for o in c.outputs]
    assert not [o for _, o in outputs if o.output_type == "error"]
    for cell, output in outputs:
        if "image/png" in output.get("data", {}):
            found = cell.metadata.get("mystnb", {})
            assert found.get("image", {}).get("alt"), f"no alt text:\n{cell.source}"
            assert found.get("figure", {}).get("caption"), f"no caption:\n{cell.source}"
    (widget,) = [o for _, o in outputs if "widget" in o.get("metadata", {}).get("vislab", {})]
    assert len(widget["data"]["text/html"]) <= 300_000
    thumbnails = [c for c in cells if "thumbnail" in c.metadata.get("tags", [])]
    assert any("image/png" in o.get("data", {}) for c in thumbnails for o in c.outputs)


@each
def test_nbval_gives_the_same_marked_outputs(slug, place, published, tmp_path):
    path = tmp_path / f"{slug}.ipynb"
    nbformat.write(shared.executed(slug, place), path)
    command = [sys.executable, "-m", "pytest", str(path), "--nbval-lax", "--nbval-current-env", "-q", "-x"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(tmp_path), "-c", os.devnull]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
