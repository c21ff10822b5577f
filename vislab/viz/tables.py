"""Plain tables, and the shapes that tensors take on their way through a network."""

import math
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from vislab.viz.show import Raw, show, table_html, table_text

SHAPE = re.compile(r"\b\d+(?:×\d+){1,4}\b")
BLOCKS = 4
"""Drawings a row; an output of more tensors shows its first ones."""


def table(rows: Sequence[Sequence[Any]], columns: Sequence[str], caption: str | None = None) -> None:
    """Show a table; numbers are set right, floats at four significant digits, None as an empty cell."""
    rows = [list(row) for row in rows]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"every row wants {len(columns)} cells, as many as there are columns")
    show(table_html(columns, rows, caption), table_text(columns, rows, caption))


def shapes(model: Any, *inputs: Any, depth: int = 2, **named: Any) -> None:
    """Run `model(*inputs, **named)` without gradients and show each submodule's output shape down to `depth`, in call order.

    Each output stands as a block too: its height grows with the number of positions, its width with that of channels.
    """
    columns = ["module", "class", "calls", "output", "parameters"]
    rows = traced(model, *inputs, depth=depth, **named)
    drawn = [
        [_indented(r[0]), r[1], r[2], Raw("".join(map(block, SHAPE.findall(r[3])[:BLOCKS])), ""), *r[3:]] for r in rows
    ]
    caption = "Outputs in call order; blocks: positions up, channels across, on logarithmic scales"
    html = table_html([*columns[:3], "", *columns[3:]], drawn, caption, "vislab-table vislab-shapes")
    show(html, table_text(columns, rows))


def _indented(name: str) -> Raw:
    within = name.count(".")
    mark = "└ " if within else ""
    return Raw(f'<span style="padding-left:{within}em">{mark}{escape(name.split(".")[-1])}</span>', name)


def block(text: str) -> str:
    """A small drawing of an output shape such as "8×16×32×32" (batch, channels, height, width) or "8×64×96" (batch, tokens, channels)."""
    sizes = [int(s) for s in text.split("×")][1:]
    if len(sizes) >= 3:
        channels, positions = sizes[0], math.prod(sizes[1:]) ** (1 / (len(sizes) - 1))
    else:
        channels, positions = sizes[-1], sizes[0] if len(sizes) == 2 else 1
    width, height = (round(4 + 7 * math.log2(max(1.0, v))) for v in (channels, positions))
    return (
        f'<svg class="vislab-block" width="{width + 2}" height="{height + 2}" aria-hidden="true">'
        f'<rect x="1" y="1" width="{width}" height="{height}"/></svg>'
    )


def traced(model: Any, *inputs: Any, depth: int = 2, **named: Any) -> list[list[Any]]:
    """[name, class, calls, output shape of the first call, parameters] of each submodule, in order of the first call."""
    import torch

    found: dict[str, list[Any]] = {}
    hooks = []
    order: list[str] = []

    def before(name: str):
        return lambda *_: order.append(name) if name not in order else None

    def after(name: str, module: Any):
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            row = found.setdefault(
                name,
                [
                    name or "(whole)",
                    type(module).__name__,
                    0,
                    shape(output),
                    sum(p.numel() for p in module.parameters()),
                ],
            )
            row[2] += 1

        return hook

    for name, module in model.named_modules():
        if name == "" or name.count(".") < depth:
            hooks += [module.register_forward_pre_hook(before(name)), module.register_forward_hook(after(name, module))]
    training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(*inputs, **named)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return [found[name] for name in order if name in found]


def shape(output: Any) -> str:
    """Shapes of a tensor, or of the tensors in a tuple, list, dict or dataclass."""
    if hasattr(output, "shape"):
        return "×".join(map(str, output.shape)) or "scalar"
    if isinstance(output, dict):
        return ", ".join(f"{k}: {shape(v)}" for k, v in output.items())
    if isinstance(output, (list, tuple)):
        return ", ".join(shape(v) for v in output)
    if hasattr(output, "__dataclass_fields__"):
        return ", ".join(f"{k}: {shape(getattr(output, k))}" for k in output.__dataclass_fields__)
    return type(output).__name__
