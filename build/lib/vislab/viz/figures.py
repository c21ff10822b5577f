"""Grids of pictures and plots of curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vislab.viz.look import palette, style


def pixels(picture: Any) -> np.ndarray:
    """(H, W, 3) or (H, W) uint8 of a picture: a tensor (3, H, W), (1, H, W), (H, W) in [0, 1], or uint8 with channels last.

    Raises ValueError for any other shape.
    """
    array = picture.detach().cpu().numpy() if hasattr(picture, "detach") else np.asarray(picture)
    if array.ndim == 3 and array.shape[0] in (1, 3) and (array.shape[-1] not in (3, 4) or array.dtype != np.uint8):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        raise ValueError(f"a picture is (3, H, W), (H, W) or (H, W, 3), not {tuple(array.shape)}")
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        array = (np.clip(np.nan_to_num(array.astype(np.float64)), 0, 1) * 255).round().astype(np.uint8)
    return array[..., :3] if array.ndim == 3 else array


def images(
    rows: Sequence[Sequence[Any]],
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    size: float = 2.0,
) -> None:
    """Draw a grid of pictures and show it.

    `rows` holds lists of pictures as `pixels` takes them; None stands for a run that is missing and is drawn as a grey square.
    `titles` stand over the columns (or over every picture, when there are as many as pictures); `row_titles` at the left.
    `size` is the height of a row in inches, made smaller when the grid would be wider than the page.
    """
    import matplotlib.pyplot as plt

    style()
    grid = [list(row) for row in rows] if rows and isinstance(rows[0], (list, tuple)) else [list(rows)]
    columns = max(len(row) for row in grid)
    arrays = [[None if p is None else pixels(p) for p in row] for row in grid]
    known = [a.shape[1] / a.shape[0] for row in arrays for a in row if a is not None]
    ratio = max(known, default=1.0)
    side = min(size, 7.4 / (columns * ratio))
    left = 0.3 if row_titles else 0.0
    figure, axes = plt.subplots(
        len(grid), columns, figsize=(columns * side * ratio + left, len(grid) * side + 0.25), squeeze=False
    )
    each = titles is not None and len(titles) == sum(map(len, grid)) and len(grid) > 1
    for k, axis in enumerate(axes.flat):
        row, column = divmod(k, columns)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
        if column >= len(arrays[row]):
            axis.set_visible(False)
            continue
        _draw(axis, arrays[row][column])
        if titles is not None and (each or row == 0):
            number = sum(map(len, grid[:row])) + column if each else column
            axis.set_title(titles[number] if number < len(titles) else "", fontsize=9)
        if row_titles is not None and column == 0:
            axis.set_ylabel(row_titles[row], fontsize=9)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    plt.show()
    plt.close(figure)


def _draw(axis: Any, array: np.ndarray | None) -> None:
    if array is None:
        axis.set_facecolor("#dddddd")
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.text(0.5, 0.5, "run missing", ha="center", va="center", fontsize=8, color="#555555")
        return
    axis.imshow(array, cmap="gray" if array.ndim == 2 else None, vmin=0, vmax=255, interpolation="nearest")


def curves(
    lines: Mapping[str, Any],
    xlabel: str = "",
    ylabel: str = "",
    log: bool | str = False,
    size: tuple[float, float] = (6.0, 3.0),
) -> None:
    """Plot curves and show them.

    `lines` maps labels to values, or to (x, y); None stands for a run that is missing, and its label says so.
    `log` makes the vertical axis logarithmic; "x" the horizontal one, "xy" both.
    """
    import matplotlib.pyplot as plt

    style()
    figure, axis = plt.subplots(figsize=size)
    dashes = ("-", "--", "-.", ":")
    for k, (label, line) in enumerate(lines.items()):
        colour, dash = palette[k % len(palette)], dashes[k // len(palette) % len(dashes)]
        if line is None:
            axis.plot([], [], dash, color=colour, label=f"{label} (run missing)")
            continue
        x, y = line if isinstance(line, tuple) and len(line) == 2 else (None, line)
        y = _numbers(y)
        x = np.arange(len(y)) if x is None else _numbers(x)
        axis.plot(x, y, dash, color=colour, label=label, marker="o" if len(y) <= 12 else None)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    where = {True: "y", False: ""}.get(log, log)
    if "x" in where:
        axis.set_xscale("log")
    if "y" in where:
        axis.set_yscale("log")
    if len(lines) > 1 or next(iter(lines.values()), 0) is None:
        axis.legend(
            loc="best" if len(lines) <= 5 else "center left", bbox_to_anchor=None if len(lines) <= 5 else (1, 0.5)
        )
    plt.show()
    plt.close(figure)


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
