"""Source listings."""

import ast
import inspect
import textwrap
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any

from vislab.viz.show import show


def source(thing: type | FunctionType | Any, only: str | Sequence[str] | None = None) -> None:
    """Show the source of a class or function as it is in the package, under the name of its module.

    `only` names the methods of a class to show; the others are left out, marked by an ellipsis.
    Raises ValueError for a name that the class does not define.
    """
    code = listing(thing, only)
    place = "" if isinstance(thing, ModuleType) else f".{inspect.unwrap(thing).__qualname__}"
    name = inspect.getmodule(thing).__name__
    header = f"`{name}{place}`"
    show(f"{header}\n\n```python\n{code}\n```\n", f"{name}{place}\n\n{code}", kind="text/markdown")


def listing(thing: Any, only: str | Sequence[str] | None = None) -> str:
    """The text that `source` shows."""
    code = textwrap.dedent(inspect.getsource(inspect.unwrap(thing) if callable(thing) else thing)).rstrip()
    if only is None:
        return code
    names = (only,) if isinstance(only, str) else tuple(only)
    lines = code.splitlines()
    (node,) = ast.parse(code).body
    methods = {n.name: n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    for name in names:
        if name not in methods:
            raise ValueError(f"{node.name} defines no {name!r}; it defines {', '.join(methods)}")
    kept = lines[: node.body[0].lineno - 1]
    if ast.get_docstring(node) is not None:
        kept += lines[node.body[0].lineno - 1 : node.body[0].end_lineno]
    for name, method in methods.items():
        first = min([method.lineno, *(d.lineno for d in method.decorator_list)])
        if name in names:
            kept += ["", *lines[first - 1 : method.end_lineno]]
        elif kept[-1] != "    ...":
            kept += ["", "    ..."]
    return "\n".join(kept)
