"""Plain tables, and the shapes that tensors take on their way through a network."""

from collections.abc import Sequence
from typing import Any

from vislab.viz.show import show, table_html, table_text


def table(rows: Sequence[Sequence[Any]], columns: Sequence[str], caption: str | None = None) -> None:
    """Show a table; numbers are set right, floats at four significant digits, None as an empty cell."""
    rows = [list(row) for row in rows]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"every row wants {len(columns)} cells, as many as there are columns")
    show(table_html(columns, rows, caption), table_text(columns, rows, caption))


def shapes(model: Any, *inputs: Any, depth: int = 2, **named: Any) -> None:
    """Run `model(*inputs, **named)` without gradients and show each submodule's output shape down to `depth`, in call order."""
    columns = ["module", "class", "calls", "output", "parameters"]
    rows = traced(model, *inputs, depth=depth, **named)
    show(table_html(columns, rows), table_text(columns, rows))


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
