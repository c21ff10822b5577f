"""Sliders that move pictures: native range inputs on a page, ipywidgets where a kernel lives."""

import base64
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

MAX_STATES = 36
MAX_BYTES = 300_000
QUALITIES = (88, 75, 60, 45)
LOSSLESS_PIXELS = 400_000


def sliders(
    states: Mapping[Any, Any],
    label: str | Sequence[str] = "",
    alt: Mapping[Any, str] | Callable[[Any], str] | str = "",
    width: int | None = None,
) -> None:
    """Show a slider that picks one of several pictures, by mouse and by keyboard, with or without a kernel.

    `states` maps the state's name to a picture (as `viz.images` takes them) or a matplotlib figure, at most 36 of them.
    For several sliders the names are tuples, one entry a slider, and together fill the whole grid; `label` is then as long.
    `alt` gives each state's text for readers who do not see the picture; `width` is the width on the page in pixels.
    Raises ValueError for more than 36 states, pictures above 300 KB together, holes in the grid or a missing alt text.
    """
    keys = [k if isinstance(k, tuple) else (k,) for k in states]
    labels = [label] if isinstance(label, str) else list(label)
    axes = _axes(keys, labels)
    texts = [_alt(alt, key) for key in states]
    arrays = [_picture(value) for value in states.values()]
    pictures = _encoded(arrays)
    shown = _width(states.values(), arrays, width)
    html = _html(keys, labels, axes, texts, pictures, [a.shape[:2] for a in arrays], shown)
    size = sum(map(len, pictures))
    plain = f"{', '.join(labels)}: {len(keys)} states, {size / 1000:.0f} KB; " + texts[0]
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(plain)
        return
    bundle: dict[str, Any] = {"text/html": html, "text/plain": plain}
    if hasattr(shell, "kernel"):
        bundle |= _live(keys, labels, axes, texts, pictures, shown)
    shell.display_pub.publish(bundle, {"vislab": {"widget": len(keys)}})


def _axes(keys: list[tuple], labels: list[str]) -> list[list]:
    """The values of each slider, in order; raises ValueError for a grid with holes."""
    if not keys:
        raise ValueError("a slider needs at least one state")
    if len(keys) > MAX_STATES:
        raise ValueError(f"{len(keys)} states are more than the {MAX_STATES} that a page carries; show fewer")
    if any(len(k) != len(labels) for k in keys):
        raise ValueError(f"every state's name needs {len(labels)} entries, one a label")
    axes = [list(dict.fromkeys(k[d] for k in keys)) for d in range(len(labels))]
    if len(set(keys)) != int(np.prod([len(a) for a in axes])):
        raise ValueError("the states do not fill the grid of the sliders' values")
    return axes


def _alt(alt: Any, key: Any) -> str:
    text = alt(key) if callable(alt) else alt if isinstance(alt, str) else alt.get(key, "")
    if not text:
        raise ValueError(f"state {key!r} has no alt text")
    return f"{text} ({_name(key)})" if isinstance(alt, str) else text


def _name(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _picture(value: Any) -> np.ndarray:
    if hasattr(value, "savefig"):
        import matplotlib.pyplot as plt
        from PIL import Image

        file = io.BytesIO()
        value.savefig(file, format="png", dpi=150)
        plt.close(value)
        return np.asarray(Image.open(file).convert("RGB"))
    from vislab.viz.figures import pixels

    return pixels(value)


def _encoded(arrays: list[np.ndarray]) -> list[bytes]:
    """WebP of each picture, at the best quality that fits together; small pictures are kept without loss.

    What does not fit at any quality is made smaller, down to three fifths, before it is refused.
    """
    from PIL import Image

    least = 0
    area = sum(a.shape[0] * a.shape[1] for a in arrays)
    tries = [(1.0, 100)] if area <= LOSSLESS_PIXELS else []
    tries += [(1.0, quality) for quality in QUALITIES] + [(0.8, QUALITIES[-1]), (0.6, QUALITIES[-1])]
    for scale, quality in tries:
        found, weight = [], 0
        for array in arrays:
            picture = Image.fromarray(array).convert("RGB")
            if scale < 1:
                size = (round(picture.width * scale), round(picture.height * scale))
                picture = picture.resize(size, Image.Resampling.LANCZOS)
            file = io.BytesIO()
            picture.save(file, "WEBP", quality=quality, lossless=quality == 100, method=4)
            found.append(file.getvalue())
            # base64 makes four bytes of three, and each picture comes with its tag and text
            weight += 4 * len(found[-1]) // 3 + 300
            if weight > MAX_BYTES:
                break
        if weight <= MAX_BYTES:
            return found
        least = weight * len(arrays) // len(found)
    raise ValueError(
        f"{len(arrays)} pictures weigh about {least / 1000:.0f} KB, more than the {MAX_BYTES // 1000} KB that a page carries; "
        "make them smaller or show fewer states"
    )


def _width(values: Any, arrays: list[np.ndarray], width: int | None) -> int:
    """Width on the page: figures are drawn at 150 dots an inch and shown at 96; small pictures are enlarged."""
    if width is not None:
        return width
    natural, height = max(a.shape[1] for a in arrays), max(a.shape[0] for a in arrays)
    if any(hasattr(v, "savefig") for v in values):
        return round(natural * 96 / 150)
    return min(natural * max(1, min(640 // natural, 400 // height)), 720)


def _html(
    keys: list[tuple],
    labels: list[str],
    axes: list[list],
    texts: list[str],
    pictures: list[bytes],
    sizes: list[tuple[int, int]],
    width: int,
) -> str:
    lines = ['<div class="vislab-slider">']
    for label, values in zip(labels, axes, strict=True):
        names = escape("|".join(str(v).replace("|", "/") for v in values))
        lines.append(
            f'<label><span class="vislab-name">{escape(label)}</span>'
            f'<input type="range" min="0" max="{len(values) - 1}" value="0" step="1" data-names="{names}" '
            f'aria-label="{escape(label or "state")}" aria-valuetext="{escape(str(values[0]))}" autocomplete="off">'
            f"<output>{escape(str(values[0]))}</output></label>"
        )
    for key, text, data, (high, wide) in zip(keys, texts, pictures, sizes, strict=True):
        place = "-".join(str(axes[d].index(k)) for d, k in enumerate(key))
        hidden = "" if all(axes[d][0] == k for d, k in enumerate(key)) else " hidden"
        crisp = ' class="vislab-crisp"' if wide < width else ""
        lines.append(
            f'<img{crisp} data-state="{place}" width="{width}" height="{round(width * high / wide)}" '
            f'alt="{escape(text)}" src="data:image/webp;base64,{base64.b64encode(data).decode()}"{hidden}>'
        )
    return "\n".join([*lines, "</div>"])


def _live(
    keys: list[tuple], labels: list[str], axes: list[list], texts: list[str], pictures: list[bytes], width: int
) -> dict[str, Any]:
    """The ipywidgets view of the same sliders."""
    import ipywidgets

    found = {key: (data, text) for key, data, text in zip(keys, pictures, texts, strict=True)}
    controls = [
        ipywidgets.SelectionSlider(options=[(str(v), v) for v in values], description=label, continuous_update=True)
        for label, values in zip(labels, axes, strict=True)
    ]
    image = ipywidgets.Image(format="webp", width=width)

    def update(_change: Any = None) -> None:
        image.value, image.alt_text = found[tuple(c.value for c in controls)]

    for control in controls:
        control.observe(update, "value")
    update()
    box = ipywidgets.VBox([*controls, image])
    return {
        "application/vnd.jupyter.widget-view+json": {"model_id": box.model_id, "version_major": 2, "version_minor": 0}
    }
