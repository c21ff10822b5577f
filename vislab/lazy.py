"""Lazy exports of a package (PEP 562), so that importing it loads nothing."""

import sys
from collections.abc import Callable, Mapping


def exports(package: str, names: Mapping[str, str]) -> tuple[Callable, Callable, list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for `package`: each name comes from its submodule on first use."""

    def __getattr__(name: str):
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        __import__(f"{package}.{names[name]}")
        return getattr(sys.modules[f"{package}.{names[name]}"], name)

    return __getattr__, lambda: sorted(names), sorted(names)
