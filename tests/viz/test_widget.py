"""Sliders: limits, alt texts, the form that works without a kernel."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from vislab.viz import widget


def html_of(states, label="step", alt=lambda k: f"state {k}", width=None):
    keys = [k if isinstance(k, tuple) else (k,) for k in states]
    labels = [label] if isinstance(label, str) else list(label)
    axes = widget._axes(keys, labels)
    arrays = [widget._picture(v) for v in states.values()]
    shown = widget._width(list(states.values()), arrays, width)
    texts = [widget._alt(alt, k) for k in states]
    return widget._html(keys, labels, axes, texts, widget._encoded(arrays), [a.shape[:2] for a in arrays], shown)


def grey(value, side=16):
    return np.full((side, side, 3), value, np.uint8)


def test_one_picture_is_shown_and_every_picture_has_its_text():
    html = html_of({str(k): grey(40 * k) for k in range(5)})
    assert html.count("<img") == 5 and html.count(" hidden>") == 4
    assert all(f'alt="state {k}"' in html for k in range(5))
    assert 'type="range"' in html and 'max="4"' in html and 'aria-label="step"' in html
    data = re.findall(r"data:image/webp;base64,([^\"]+)", html)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[2]))))
    assert (shown == 80).all(), "small pictures are kept without loss"


def test_two_sliders_span_a_grid():
    states = {(a, b): grey(10 * a + b) for a in range(3) for b in range(2)}
    html = html_of(states, ["a", "b"])
    assert html.count("range") == 2
    assert re.findall(r'data-state="([^"]+)"', html) == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]
    with pytest.raises(ValueError, match="grid"):
        html_of({k: v for k, v in states.items() if k != (1, 1)}, ["a", "b"])


def test_limits_are_errors_that_say_so():
    with pytest.raises(ValueError, match="37 states.*36"):
        html_of({str(k): grey(k) for k in range(37)})
    noise = np.random.default_rng(0).integers(0, 256, (36, 400, 400, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="300 KB"):
        html_of({str(k): v for k, v in enumerate(noise)})
    with pytest.raises(ValueError, match="no alt text"):
        html_of({"0": grey(0)}, alt={})
    with pytest.raises(ValueError, match="at least one"):
        html_of({})


def test_large_pictures_lose_quality_before_they_fail():
    ramp = np.linspace(0, 255, 256, dtype=np.uint8)
    states = {str(k): np.roll(np.stack([np.tile(ramp, (256, 1))] * 3, -1), k, 1) for k in range(36)}
    noisy = {
        k: np.clip(v + np.random.default_rng(0).normal(0, 12, v.shape), 0, 255).astype(np.uint8)
        for k, v in states.items()
    }
    assert len(html_of(noisy)) <= widget.MAX_BYTES


def test_a_figure_is_a_state():
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(2, 1))
    axis.plot([0, 1])
    assert 'width="192" height="96"' in html_of({"0": figure})


def test_outside_a_notebook_it_prints(capsys):
    widget.sliders({"0": grey(0), "1": grey(9)}, "step", "a square")
    assert "step: 2 states" in capsys.readouterr().out


def test_names_are_escaped():
    html = html_of({"<b>": grey(0)}, label='"x"', alt=lambda k: f'"{k}"')
    assert "<b>" not in html and 'aria-label="&quot;x&quot;"' in html
