"""Reference pages: one a floor and one a part of the papers, each module with its public members."""

import ast
from collections.abc import Sequence
from pathlib import Path

from vislab import registry

FLOORS = ("cards", "registry", "errors", "ops", "nn", "worlds", "datasets", "engine", "zoo", "viz", "batch")


def reference(package: Path, slugs: Sequence[str]) -> dict[str, str]:
    """{page: text}: one page a floor and one a part of the papers, each module with its public members.

    The rooms of `slugs` lead to their chapters.
    """
    found = {}
    for floor in FLOORS:
        path = package / floor
        modules = _modules(path, package) if path.is_dir() else [(f"vislab.{floor}", False)]
        if modules:
            found[floor] = _reference_page(f"vislab.{floor}", modules, ())
    for part in sorted(set(registry.places().values())):
        modules = _modules(package / "papers" / part, package)
        found[f"papers_{part}"] = _reference_page(f"vislab.papers.{part}", modules, slugs)
    return found


def _modules(folder: Path, package: Path) -> list[tuple[str, bool]]:
    """(name, whether it is a package) of the modules below `folder` that have a docstring."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        if ast.get_docstring(ast.parse(path.read_text())) is not None:
            parts = ("vislab", *path.relative_to(package).with_suffix("").parts)
            found.append((".".join(parts).removesuffix(".__init__"), path.name == "__init__.py"))
    return sorted(found)


def _reference_page(title: str, modules: Sequence[tuple[str, bool]], slugs: Sequence[str]) -> str:
    blocks = [f"# {title}\n"]
    for name, is_package in modules:
        # a package's names are those of its modules, which follow
        members = "" if is_package else "   :members:\n   :member-order: bysource\n"
        chapter = _chapter(name) if is_package and name.split(".")[-1] in slugs else ""
        blocks.append(f"## {name}\n\n{chapter}```{{eval-rst}}\n.. automodule:: {name}\n{members}```\n")
    return "\n".join(blocks)


def _chapter(package: str) -> str:
    """A link to the chapter of a paper's room."""
    slug = package.split(".")[-1]
    return f"[The chapter](../{registry.places()[slug]}/{slug}.md) explains this code.\n\n"


def reference_config(text: str) -> str:
    """`_config.yml` with autodoc; only targets under torch, jaxtyping, numpy and typing may stay unresolved."""
    import yaml

    config = yaml.safe_load(text)
    options = config["sphinx"]["config"]
    options["extensions"] = [*options["extensions"], "sphinx.ext.autodoc", "vislab.batch.docstrings"]
    options["autodoc_typehints"] = "none"
    options["autodoc_inherit_docstrings"] = False
    options["nitpick_ignore_regex"] = [["py:class", r"(torch|jaxtyping|numpy|typing)(\..*)?"]]
    return yaml.safe_dump(config, sort_keys=False)
