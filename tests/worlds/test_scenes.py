"""Named scenes, their edits and their captions."""

import pytest
import torch

from vislab.worlds.shapes import captions as text
from vislab.worlds.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZES,
    STYLES,
    TEXTURES,
    Named,
    ScenesConfig,
    ScenesWorld,
)

WORLD = ScenesWorld(ScenesConfig())
INDEX = torch.arange(400)


def test_same_item_whatever_the_batch():
    whole, part = WORLD.sample(INDEX[:40]), WORLD.sample(INDEX[17:23])
    assert torch.equal(whole.named.shape[17:23], part.named.shape)
    assert torch.allclose(whole.image[17:23], part.image, atol=1e-5)


def test_seed_and_index_change_the_scene():
    other = ScenesWorld(ScenesConfig(), seed=1).sample(INDEX[:40])
    mine = WORLD.sample(INDEX[:40])
    assert (other.named.shape != mine.named.shape).any() and not torch.equal(other.image, mine.image)


def test_words_cover_their_tables():
    named = WORLD.names(torch.arange(3000))
    assert set(named.present.sum(dim=1).tolist()) == {1, 2, 3}
    for value, table in ((named.shape, SHAPES), (named.colour, COLOURS), (named.texture, TEXTURES), (named.style, STYLES),
                         (named.background, BACKGROUNDS)):  # fmt: skip
        assert set(value.unique().tolist()) == set(range(len(table)))
    alone = named.present.sum(dim=1) == 1
    large = list(SIZES).index("large")
    assert (named.size[alone, 0] == large).any() and not (named.size[~alone] == large).any()
    both = named.present.sum(dim=1) >= 2
    assert (named.shape[both, 0] != named.shape[both, 1]).all() and (named.cell[both, 0] != named.cell[both, 1]).all()


def test_an_edit_changes_only_what_it_names():
    world = ScenesWorld(ScenesConfig(styles=("photo",), least=2))
    named = world.names(INDEX[:60])
    colour = named.colour.clone()
    colour[:, 0] = (colour[:, 0] + 3) % len(COLOURS)
    before, after = world.draw(named, INDEX[:60]), world.draw(named.edited(colour=colour), INDEX[:60])
    changed = (before.image - after.image).abs().amax(dim=1) > 1e-6
    # the tip of a star is thinner than a pixel and may lie beyond its mask
    near = torch.nn.functional.max_pool2d(before.visible[:, 0].float()[:, None], 9, 1, 4)[:, 0] > 0
    assert not (changed & ~near).any()
    assert (changed & before.visible[:, 0]).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("style", STYLES)
def test_things_are_seen_in_every_style(style):
    """A thing alone in front of its ground changes the picture where it stands."""
    world = ScenesWorld(ScenesConfig(styles=(style,), most=1, noise=0.0))
    named = world.names(INDEX[:50])
    empty = named.edited(present=torch.zeros_like(named.present))
    with_thing, without = world.draw(named, INDEX[:50]), world.draw(empty, INDEX[:50])
    assert ((with_thing.image - without.image).abs().amax(dim=(1, 2, 3)) > 0.04).float().mean() > 0.95


def test_unknown_style():
    with pytest.raises(ValueError, match="sketch"):
        ScenesWorld(ScenesConfig(styles=("oil",)))


def test_captions_tell_what_is_there():
    named = WORLD.names(INDEX)
    told = text.words(text.captions(named, INDEX, config=text.CaptionConfig(omit=0.0, synonyms=0.0)))
    colours, shapes = list(COLOURS), list(SHAPES)
    for row, caption in enumerate(told):
        said = caption.split()
        for slot in range(3):
            shape = shapes[named.shape[row, slot]]
            assert (shape in said) == (bool(named.present[row, slot]) or shape in
                                       [shapes[named.shape[row, k]] for k in range(3) if named.present[row, k]])  # fmt: skip
        hides = STYLES[named.style[row]] in ("sketch", "palette")
        first = f"{colours[named.colour[row, 0]]} {TEXTURES[named.texture[row, 0]]} {shapes[named.shape[row, 0]]}"
        assert (first in caption) != hides


def test_relations_hold():
    named = WORLD.names(INDEX)
    told = text.words(text.captions(named, INDEX, config=text.CaptionConfig(relations=1.0)))
    x = torch.tensor([0.27, 0.73, 0.27, 0.73])[named.cell]
    y = torch.tensor([0.27, 0.27, 0.73, 0.73])[named.cell]
    seen = set()
    for row, caption in enumerate(told):
        for word, holds in {
            "left of": x[row, 0] < x[row, 1], "right of": x[row, 0] > x[row, 1],
            "above": y[row, 0] < y[row, 1], "below": y[row, 0] > y[row, 1],
        }.items():  # fmt: skip
            if word in caption:
                seen.add(word)
                assert holds
    assert len(seen) == 4


def test_omissions():
    named = WORLD.names(INDEX)
    some = (text.captions(named, INDEX) > 0).sum(dim=1).float().mean()
    none = (text.captions(named, INDEX, config=text.CaptionConfig(omit=0.0)) > 0).sum(dim=1).float().mean()
    assert some < none - 2


def test_tokens_and_words():
    tokens = text.tokenize(["a red Circle, on a white background", "star"])
    assert tokens.shape == (2, text.LENGTH) and text.words(tokens) == ["a red circle on a white background", "star"]
    assert (tokens.argmax(dim=1) == torch.tensor([8, 2])).all()
    slots = torch.tensor([[-1, 5, -1, 7], [-1, -1, -1, -1]])
    assert text.packed(slots, 6).tolist() == [[text.START, 5, 7, text.END, 0, 0], [text.START, text.END, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match="unicorn"):
        text.tokenize(["a unicorn"])
    with pytest.raises(ValueError, match="fit"):
        text.tokenize(["red " * 40])


def test_named_rows_and_devices():
    named = WORLD.names(INDEX[:5])
    part = named[torch.tensor([1, 3])]
    assert isinstance(part, Named) and part.to("cpu").shape.shape == (2, 3)
