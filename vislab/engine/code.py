"""The code hash of a room: what its experiment imports from vislab, as syntax without docstrings."""

import ast
import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = ("vislab.viz", "vislab.registry", "vislab.batch", "vislab.cli", "vislab.metric_list")


def _file(module: str) -> Path | None:
    base = _ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None


def _counts(module: str) -> bool:
    left_out = any(module == name or module.startswith(name + ".") for name in _LEFT_OUT)
    return module.split(".")[0] == "vislab" and not left_out and module.split(".")[-1] != "card"


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules of vislab that a file imports by name, those that count towards code hashes."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(m for m in found if _counts(m) and _file(m))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def syntax(path: Path) -> str:
    """A file's syntax tree without docstrings, comments and positions."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [n for n in node.body if not _is_text(n)] or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False)


def closure(path: Path) -> tuple[Path, ...]:
    """`path` and every vislab file it imports, directly or not, sorted."""
    seen: set[Path] = set()
    waiting = [path.resolve()]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        waiting.extend(_file(m).resolve() for m in imports(here))
    return tuple(sorted(seen))


def code_hash(path: Path) -> str:
    """SHA-256, 16 hex digits, over the closure of `path`; docstrings and comments do not count."""
    digest = hashlib.sha256()
    for file in closure(path):
        name = file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else Path(file.name)
        digest.update(f"{name}\0{syntax(file)}\0".encode())
    return digest.hexdigest()[:16]
