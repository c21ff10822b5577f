"""Pictures, curves, listings, shape tables and the chapter's door."""

import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from vislab import registry, viz
from vislab.errors import UserError
from vislab.viz import figures, listing, look, tables

SLUG = registry.slugs()[0]


@pytest.mark.parametrize(
    ("picture", "shape"),
    [
        (torch.rand(3, 5, 7), (5, 7, 3)),
        (torch.rand(1, 5, 7), (5, 7)),
        (torch.rand(5, 7), (5, 7)),
        (np.zeros((5, 7, 3), np.uint8), (5, 7, 3)),
        (torch.zeros(5, 7, 3, dtype=torch.uint8), (5, 7, 3)),
        (torch.rand(3, 3, 3), (3, 3, 3)),
        (torch.ones(4, 6, dtype=torch.bool), (4, 6)),
        (torch.rand(3, 5, 7, requires_grad=True), (5, 7, 3)),
    ],
)
def test_pixels_of_every_layout(picture, shape):
    found = figures.pixels(picture)
    assert found.shape == shape and found.dtype == np.uint8


def test_pixels_keep_channels_and_clip():
    picture = torch.stack([torch.full((2, 5), v) for v in (-1.0, 0.5, 2.0)])
    assert figures.pixels(picture)[0, 0].tolist() == [0, 128, 255]
    with pytest.raises(ValueError, match="not"):
        figures.pixels(torch.rand(2, 3, 4, 5))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were shown, kept open."""
    found = []
    monkeypatch.setattr(plt, "show", lambda: found.append(plt.gcf()))
    monkeypatch.setattr(plt, "close", lambda *_: None)
    yield found
    monkeypatch.undo()
    plt.close("all")


def test_images_draw_a_grid_with_placeholders(drawn):
    picture = torch.rand(3, 8, 8)
    viz.images([[picture, None], [picture]], titles=["a", "b"], row_titles=["x", "y"])
    (figure,) = drawn
    axes = figure.axes
    assert [len(a.images) for a in axes] == [1, 0, 1, 0]
    assert [t.get_text() for t in axes[1].texts] == ["run missing"]
    assert axes[0].get_title() == "a" and axes[2].get_ylabel() == "y" and not axes[3].get_visible()
    assert figure.get_figwidth() <= 8


def test_a_plain_list_is_one_row(drawn):
    viz.images([torch.rand(3, 8, 8)] * 3)
    assert len(drawn[0].axes) == 3


def test_curves_are_labelled_and_say_what_is_missing(drawn):
    viz.curves({"a": [1, 2, 4], "b": None, "c": (torch.arange(2), torch.ones(2))}, "step", "loss", log=True)
    (axis,) = drawn[0].axes
    labels = [t.get_text() for t in axis.get_legend().get_texts()]
    assert labels == ["a", "b (run missing)", "c"]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == ("step", "loss", "log")


def test_neighbouring_colours_differ_in_lightness_too():
    def lightness(colour):
        linear = [((v + 0.055) / 1.055) ** 2.4 for v in (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    assert len(set(viz.palette)) == len(viz.palette)
    # against white, a line needs a contrast of 3 or comes with a dash or a marker
    assert sum(1.05 / (lightness(c) + 0.05) >= 3 for c in look.palette) >= 4


class Small(nn.Module):
    """A network of two layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.second = nn.Linear(5, 5)

    def forward(self, x):
        """Twice through the second layer."""
        y = self.second(self.second(self.first(x)))
        return {"y": y, "pair": (y, y[0])}


def test_shapes_are_traced_in_call_order_and_leave_nothing_behind():
    model = Small().train()
    rows = tables.traced(model, torch.rand(2, 3))
    assert rows == [
        ["(whole)", "Small", 1, "y: 2×5, pair: 2×5, 5", 50],
        ["first", "Linear", 1, "2×5", 20],
        ["second", "Linear", 2, "2×5", 30],
    ]
    assert model.training
    assert not model.first._forward_hooks and not model.first._forward_pre_hooks


def test_shapes_clean_up_after_a_wrong_input():
    model = Small()
    with pytest.raises(RuntimeError):
        tables.traced(model, torch.rand(2, 4))
    assert not model._forward_hooks and not model.first._forward_pre_hooks


def test_listing_of_one_method():
    text = listing.listing(Small, only="forward")
    assert text.startswith("class Small(nn.Module):") and "A network of two layers" in text
    assert "def forward" in text and "nn.Linear" not in text and "..." in text
    assert "nn.Linear(3, 5)" in listing.listing(Small)
    with pytest.raises(ValueError, match="backward"):
        listing.listing(Small, only="backward")


def test_source_prints_the_modules_name(capsys):
    viz.source(figures.pixels)
    out = capsys.readouterr().out
    assert out.startswith("vislab.viz.figures.pixels\n") and "def pixels" in out


def test_table_refuses_ragged_rows(capsys):
    viz.table([[1, 2.5]], ["a", "b"])
    assert "2.5" in capsys.readouterr().out
    with pytest.raises(ValueError, match="2 cells"):
        viz.table([[1]], ["a", "b"])


def test_a_chapter_knows_its_paper():
    chapter = viz.open(SLUG, "smoke", 0, "cpu")
    assert chapter.card is registry.card(SLUG)
    assert chapter.config() == chapter.config(next(a.name for a in chapter.card.arms if a.role == "method"))
    assert chapter.device == torch.device("cpu") and chapter.accelerator.device.type == "cpu"


@pytest.mark.parametrize(
    "arguments", [("nothing", "smoke", 0, "cpu"), (SLUG, "huge", 0, "cpu"), (SLUG, "smoke", 0, "tpu")]
)
def test_a_wrong_name_is_a_sentence(arguments):
    with pytest.raises(UserError, match="unknown"):
        viz.open(*arguments)


def test_a_missing_artifact_is_said_plainly(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_RESULTS", str(tmp_path))
    viz.open(SLUG, "smoke", 0, "cpu")
    arm = registry.card(SLUG).arms[0].name
    assert viz.artifact(SLUG, arm, "no such picture") is None
    assert f"arm {arm} at smoke is missing" in capsys.readouterr().out
    with pytest.raises(UserError, match="arm"):
        viz.artifact(SLUG, "no such arm", "x")


def test_importing_viz_loads_neither_torch_nor_matplotlib():
    code = "from vislab import viz\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "pandas", "accelerate", "IPython"} & set(done.stdout.split())


def test_blocks_grow_with_channels_and_positions():
    def sizes(text):
        return [int(v) for v in re.search(r'width="(\d+)" height="(\d+)"', tables.block(text)).groups()]

    (wide, low), (narrow, high) = sizes("2×64×4×4"), sizes("2×4×64×64")
    assert wide > narrow and high > low
    assert sizes("8×64×96")[0] > sizes("8×64×12")[0] and sizes("8×64×96")[1] > sizes("8×4×96")[1]
    assert tables.SHAPE.findall("0: 1×32×16×16, 1: 1×32×8×8, scalar") == ["1×32×16×16", "1×32×8×8"]
