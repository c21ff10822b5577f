"""Finding the papers' rooms and loading them lazily; the only module that uses importlib."""

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from vislab.cards import Paper, pick

_PAPERS = Path(__file__).parent / "papers"
_ZOO = Path(__file__).parent / "zoo"


@cache
def places() -> dict[str, str]:
    """slug -> part of every room that has a card, in alphabetical order of part and slug."""
    return {card.parent.name: card.parent.parent.name for card in sorted(_PAPERS.glob("*/*/card.py"))}


def slugs(part: str | None = None) -> tuple[str, ...]:
    """All slugs, or those of one part."""
    return tuple(s for s, p in places().items() if part in (None, p))


def module(slug: str, name: str) -> ModuleType:
    """Module `name` of a paper's room, such as "model" or "experiment".

    Raises CardError for an unknown slug, ModuleNotFoundError where the room has no such module.
    """
    part = pick(slug, places(), "paper")
    return importlib.import_module(f"vislab.papers.{part}.{slug}.{name}")


def has(slug: str, name: str) -> bool:
    """Whether the room has module `name`."""
    return (room(slug) / f"{name}.py").exists()


def room(slug: str) -> Path:
    """The folder of a paper's room."""
    return _PAPERS / pick(slug, places(), "paper") / slug


def card(slug: str) -> Paper:
    """The paper's card, without torch."""
    return module(slug, "card").PAPER


def tuning(slug: str) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Per judged arm, the fields and values that tuning tries."""
    return module(slug, "card").TUNING


def exports(package: str, names: Mapping[str, str]) -> tuple[Callable, Callable, list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose names come from its modules on first use (PEP 562)."""

    def __getattr__(name: str):
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{names[name]}"), name)

    return __getattr__, lambda: sorted(names), sorted(names)


@cache
def zoo_names() -> tuple[str, ...]:
    """The names of the zoo's members, in alphabetical order."""
    return tuple(sorted(path.stem for path in _ZOO.glob("*.py") if path.stem not in ("__init__", "base")))


def zoo_member(name: str) -> Any:
    """The `MEMBER` of a module of the zoo; CardError for an unknown name."""
    module = pick(name, {n: f"vislab.zoo.{n}" for n in zoo_names()}, "zoo member")
    return importlib.import_module(module).MEMBER
