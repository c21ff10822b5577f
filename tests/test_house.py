"""The house: import floors and cost, versions in step, sizes, no leftovers."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from vislab import registry

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = ("torchmetrics", "diffusers", "transformers", "open_clip", "timm", "kornia", "pandas", "accelerate")


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_floors_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_importing_vislab_costs_nothing():
    assert not {"torch", "numpy", "typer", "matplotlib"} & loaded_by("import vislab")


def test_the_command_line_starts_without_torch():
    code = (
        "import sys; sys.argv = ['vislab', 'papers']\nfrom vislab import cli\ntry: cli.main()\nexcept SystemExit: pass"
    )
    assert not {"torch", "numpy", "matplotlib"} & loaded_by(code)


def test_viz_and_a_chapters_first_cell_load_nothing_heavy():
    assert not set(HEAVY) & loaded_by("from vislab import viz")
    for slug in registry.slugs():
        code = f"from vislab import viz\nchapter = viz.open({slug!r}, 'smoke', 0, 'cpu')\nchapter.badges()"
        found = loaded_by(code) & set(HEAVY)
        assert not found, f"the first cell of {slug} loads {found}"


def test_importlib_is_used_in_the_registry_alone():
    allowed = {"registry.py"}
    for path in (ROOT / "vislab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
                assert path.name in allowed, f"{path.relative_to(ROOT)} line {node.lineno}"


def requirements() -> dict[str, Requirement]:
    lines = [
        *PROJECT["dependencies"],
        *PROJECT["optional-dependencies"]["book"],
        *PROJECT["optional-dependencies"]["test"],
    ]
    return {(r := Requirement(line)).name.lower(): r for line in lines}


def constraints() -> dict[str, Version]:
    pins = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line.strip()]
    return {name.lower().replace("_", "-"): Version(version) for name, version in pins}


def test_constraints_hold_every_requirement_within_its_bounds_and_no_host():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text and " @ " not in text
    pins = constraints()
    for name, requirement in requirements().items():
        assert name in pins, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]} is outside {requirement.specifier}"
    for extra in ("raw", "lpips"):
        for line in PROJECT["optional-dependencies"][extra]:
            assert Requirement(line).name.lower() in pins


def test_environment_yml_gives_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert any(re.fullmatch(r"python>=3\.11,<3\.13", d) for d in plain)
    assert pip == ["-c constraints.txt", "-e .[book,test]"]


def test_python_versions_agree():
    assert PROJECT["requires-python"] == ">=3.11,<3.13"


@pytest.mark.parametrize("limit", [1_000_000])
def test_no_tracked_file_is_large(limit):
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / n for n in names.split("\0") if n]
    large = [f.name for f in files if f.is_file() and f.stat().st_size > limit and "data/zoo" not in str(f)]
    assert not large
    assert sum(f.stat().st_size for f in files if f.is_file()) < 40_000_000


def test_parity_files_are_data_only():
    for path in (ROOT / "tests" / "parity" / "data").glob("*.json"):
        assert path.stem.split(".")[0] in registry.slugs()
