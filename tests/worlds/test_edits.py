"""Edits in words, their true pictures, and the oracle that reads attributes off a picture."""

import torch

from vislab.worlds.shapes import captions
from vislab.worlds.shapes.edits import HELD_OUT, edits, judged, simple_config, truth
from vislab.worlds.shapes.scenes import ScenesWorld

WORLD = ScenesWorld(simple_config(32))
INDEX = torch.arange(120)


def test_the_instruction_names_what_changes():
    found = edits(WORLD, INDEX)
    assert set(found.kind.tolist()) == set(range(6))
    for name in ("colour", "shape", "present"):
        changed = (getattr(found.before, name) != getattr(found.after, name)).any(dim=1)
        assert torch.equal(changed, found.kind == {"colour": 0, "shape": 1, "present": 2}[name])
    assert torch.equal(found.before.background != found.after.background, found.kind == 3)
    assert torch.equal(found.before.style != found.after.style, found.kind >= 4)
    assert all(len(text.split()) >= 2 for text in captions.words(found.instruction))


def test_held_out_wordings_are_never_trained_on():
    trained, held = edits(WORLD, INDEX, held_out=False), edits(WORLD, INDEX, held_out=True)
    assert int(trained.template.max()) < 6 - HELD_OUT <= int(held.template.min())
    assert torch.equal(trained.after.shape, held.after.shape)


def test_oracle_accepts_the_true_edit_and_refuses_none():
    found = edits(WORLD, INDEX[:40])
    known = truth(WORLD, found, INDEX[:40])
    right, kept = judged(WORLD.draw(found.after, INDEX[:40]).image, known)
    assert (right == 1).all() and (kept == 1).all()
    right, kept = judged(WORLD.draw(found.before, INDEX[:40]).image, known)
    assert float(right.mean()) < 0.1 and (kept == 1).all()
    other = WORLD.draw(found.before, INDEX[:40]).image.roll(1, dims=0)
    assert float(judged(other, known)[1].mean()) < 0.6


def test_the_kinds_of_edits_can_be_chosen():
    found = edits(WORLD, INDEX, kinds=("background", "sketch"))
    assert set(found.kind.tolist()) == {3, 5}


def test_same_edit_whatever_the_batch():
    assert torch.equal(edits(WORLD, INDEX).instruction[5:8], edits(WORLD, INDEX[5:8]).instruction)
