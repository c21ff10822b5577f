"""A new paper from the templates: it passes the contract's first stage, and its own tests name what is left to write."""

import os
import shutil
import subprocess
import sys

import pytest

from vislab.batch import new
from vislab.cards import CardError
from vislab.errors import UserError

SLUG = "deep_sets"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what the command looks at, with a new paper in it."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("vislab", "book", "tests"):
        shutil.copytree(new.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_toc.yml", "_config.yml", "pyproject.toml"):
        shutil.copy(new.ROOT / name, root)
    new.new("trust", SLUG, root)
    return root


def outcome_of(root, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_new_paper_passes_the_contracts_first_stage(checkout):
    stage = f"{SLUG} and not published and not best_trial and not discussed"
    done = outcome_of(checkout, "tests/contract", "tests/chapters/test_structure.py", "-k", stage)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


def test_its_own_tests_name_what_is_left_to_write(checkout):
    done = outcome_of(checkout, f"tests/papers/test_{SLUG}.py")
    assert done.returncode == 1
    assert "card.py:1: " in done.stdout and "TO WRITE" in done.stdout and "write tests that a wrong" in done.stdout


def test_the_contents_list_it_in_its_part(checkout):
    before, after = (new.ROOT / "_toc.yml").read_text().splitlines(), (checkout / "_toc.yml").read_text().splitlines()
    entry = f"          - file: book/trust/{SLUG}"
    assert [line for line in after if line not in before] == [entry]
    assert after.index("      - file: book/trust/index") < after.index(entry)


def test_a_part_that_is_new_stands_in_the_books_order():
    toc = "root: x\nparts:\n  - caption: Papers\n    chapters:\n"
    for part in ("restoration", "trust"):
        toc += f"      - file: book/{part}/index\n        sections:\n          - file: book/{part}/one\n"
    toc += "  - caption: Results\n"
    lines = new._listed(toc, "humans", "two").splitlines()
    assert lines.index("          - file: book/restoration/one") < lines.index("          - file: book/humans/two")
    assert lines.index("          - file: book/humans/two") < lines.index("      - file: book/trust/index")


def test_wrong_names_are_refused_and_nothing_is_written(checkout, tmp_path):
    with pytest.raises(CardError, match="unknown part 'trsut'; did you mean 'trust'"):
        new.new("trsut", "x", tmp_path)
    with pytest.raises(CardError, match="a slug is a lower-case name"):
        new.new("trust", "Deep-Sets", tmp_path)
    with pytest.raises(UserError, match="is there already"):
        new.new("trust", SLUG, checkout)
    assert not list(tmp_path.iterdir())
