"""Edits of scenes: an instruction in words, the scene before and after, and the reading of attributes from a picture.

The picture after an edit is drawn exactly, so that the success of an edit and what it leaves alone can be measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.shapes.captions import STYLE_WORDS, VOCABULARY, _table, packed
from vislab.worlds.shapes.scenes import BACKGROUNDS, COLOURS, SHAPES, STYLES, Named, ScenesConfig, ScenesWorld

KINDS = ("recolour", "swap", "remove", "background", "night", "sketch")
TEMPLATES: dict[str, tuple[str, ...]] = {
    "recolour": (
        "make the {old} {new}", "paint the {old} {new}", "turn the {old} {new}", "change the color of the {old} to {new}",
        "give the {old} a {new} color", "the {old} should be {new}",
    ),
    "swap": (
        "replace the {old} with a {new}", "turn the {old} into a {new}", "change the {old} to a {new}",
        "swap the {old} for a {new}", "make the {old} a {new}", "put a {new} where the {old} is",
    ),
    "remove": (
        "remove the {old}", "delete the {old}", "erase the {old}", "take away the {old}",
        "get rid of the {old}", "the {old} should be out of the picture",
    ),
    "background": (
        "make the background {new}", "change the background to {new}", "turn the background {new}",
        "put it on a {new} background", "give the scene a {new} background", "the background should be {new}",
    ),
    "night": (
        "make it night", "turn it to night", "change it to night", "show it at night",
        "render the scene at night", "it should be night",
    ),
    "sketch": (
        "make it a sketch", "turn it into a sketch", "change it to a sketch", "show it as a sketch",
        "render the scene as a sketch", "it should be a sketch",
    ),
}  # fmt: skip
"""Six ways to ask for each edit; the last `HELD_OUT` are kept from training."""
HELD_OUT = 2
DISTINCT = ("circle", "triangle", "square", "ring", "star", "cross")
"""Shapes that a small picture tells apart."""
_STYLES = tuple(STYLES.index(s) for s in ("photo", "night", "sketch"))
_DISTINCT = tuple(list(SHAPES).index(s) for s in DISTINCT)


@dataclass(frozen=True)
class Edits:
    """A batch of edits in words."""

    before: Named
    """The scene as it is."""
    after: Named
    """The scene as it should be."""
    kind: Int[Tensor, " batch"]
    """Index into `KINDS`."""
    slot: Int[Tensor, " batch"]
    """The thing that is edited; 0 where the edit concerns the whole scene."""
    template: Int[Tensor, " batch"]
    """Index into `TEMPLATES` of the kind."""
    instruction: Int[Tensor, "batch length"]
    """The instruction as tokens."""

    def __getitem__(self, rows: Tensor | slice) -> "Edits":
        return Edits(**{name: value[rows] for name, value in vars(self).items()})


def simple(world: ScenesWorld, indices: Int[Tensor, " batch"], styles: tuple[int, ...] = (0,)) -> Named:
    """Scenes at `indices` of distinct shapes and plain texture; two things are both of medium size."""
    named = world.names(indices)
    shape = torch.tensor(_DISTINCT, device=indices.device)[named.shape % len(_DISTINCT)]
    alone = named.present.sum(dim=1) == 1
    choice = counter.integers(world.seed, "world", indices, "simple style", len(styles))
    return named.edited(
        shape=shape,
        texture=torch.zeros_like(named.texture),
        size=torch.where(alone[:, None], named.size, torch.ones_like(named.size)),
        style=torch.tensor(styles, device=indices.device)[choice],
    )


def simple_config(image_size: int, noise: float = 0.0) -> ScenesConfig:
    """The world of `simple`: one or two things out of six shapes."""
    return ScenesConfig(
        image_size=image_size, least=1, most=2, shapes=len(DISTINCT), textures=1, styles=("photo",), noise=noise
    )


def _other(current: Tensor, step: Tensor, count: int) -> Tensor:
    """A value of range(count) other than `current`."""
    return (current + 1 + step % (count - 1)) % count


def edits(
    world: ScenesWorld,
    indices: Int[Tensor, " batch"],
    held_out: bool | Tensor | None = False,
    kinds: Sequence[str] = KINDS,
) -> Edits:
    """One edit of each scene at `indices`, of one of `kinds`.

    `held_out` says from which templates: those for training, those that are held out (each item its own where it is a tensor),
    or (None) all.
    Something is only ever removed from a scene of two things; what is left then stands in the middle, as every lone thing does.
    """
    before = simple(world, indices)
    seed, rows = world.seed, torch.arange(len(indices), device=indices.device)

    def draw(name: str, high: int) -> Tensor:
        return counter.integers(seed, "world", indices, name, high)

    count = before.present.sum(dim=1)
    kind = torch.tensor([KINDS.index(k) for k in kinds], device=indices.device)[draw("edit kind", len(kinds))]
    kind = torch.where((kind == KINDS.index("remove")) & (count == 1), torch.zeros_like(kind), kind)
    slot = draw("edit slot", 2) % count
    if held_out is None:
        template = draw("edit template", 6)
    else:
        late = torch.as_tensor(held_out, device=indices.device).expand(len(indices))
        kept = 6 - HELD_OUT
        template = torch.where(late, kept + draw("edit template", HELD_OUT), draw("edit template", kept))
    step = draw("edit value", 10_000)
    here = torch.zeros_like(before.present)
    here[rows, slot] = True

    def when(name: str) -> Tensor:
        return (kind == KINDS.index(name))[:, None] & here

    colour = torch.where(when("recolour"), _other(before.colour, step[:, None], len(COLOURS)), before.colour)
    # the new shape is none that the scene already holds
    order = torch.tensor(_DISTINCT, device=indices.device)
    free = ~((order[None, None] == before.shape[..., None]) & before.present[..., None]).any(dim=1)
    chance = counter.uniform(seed, "world", indices, "edit shape", (len(order),)) * free
    fresh = order[chance.argmax(dim=1)]
    shape = torch.where(when("swap"), fresh[:, None].expand_as(before.shape), before.shape)
    present = before.present & ~when("remove")
    whole = {name: kind == KINDS.index(name) for name in ("background", "night", "sketch")}
    background = torch.where(whole["background"], _other(before.background, step, len(BACKGROUNDS)), before.background)
    style = before.style
    for name in ("night", "sketch"):
        style = torch.where(whole[name], torch.full_like(style, STYLES.index(name)), style)
    after = before.edited(colour=colour, shape=shape, present=present, background=background, style=style)
    slot = torch.where(kind < 3, slot, torch.zeros_like(slot))
    return Edits(before, after, kind, slot, template, instructions(before, after, kind, slot, template))


def instructions(
    before: Named, after: Named, kind: Tensor, slot: Tensor, template: Tensor
) -> Int[Tensor, "batch length"]:
    """The words of the edits: a thing is named by its shape, which no other thing of its scene has."""
    rows = torch.arange(len(kind), device=kind.device)
    words = {name: _table(list(table)).squeeze(1).to(kind.device) for name, table in (
        ("colour", COLOURS), ("shape", SHAPES), ("background", BACKGROUNDS),
    )}  # fmt: skip
    old = words["shape"][before.shape[rows, slot]]
    new = torch.full_like(old, -1)
    for name, value in (
        ("recolour", words["colour"][after.colour[rows, slot]]),
        ("swap", words["shape"][after.shape[rows, slot]]),
        ("background", words["background"][after.background]),
    ):
        new = torch.where(kind == KINDS.index(name), value, new)
    pattern = _PATTERNS.to(kind.device)[kind, template]
    filled = torch.where(pattern == _OLD, old[:, None], torch.where(pattern == _NEW, new[:, None], pattern))
    return packed(filled)


def describe(named: Named) -> Int[Tensor, "batch length"]:
    """A full caption without places: "a red circle and a blue star on a white background at night"."""
    rows = torch.arange(len(named.style), device=named.style.device)
    first = named.present.int().argmax(dim=1)  # what is left may stand in the second slot
    both = named.present.all(dim=1)[:, None]
    colour, shape, ground = (_table(list(t)).squeeze(1).to(rows.device) for t in (COLOURS, SHAPES, BACKGROUNDS))
    style = _table([STYLE_WORDS[s] for s in STYLES]).to(rows.device)

    def said(phrase: str, when: Tensor | None = None) -> Tensor:
        tokens = _table([phrase])[0].to(rows.device).expand(len(rows), -1)
        return tokens if when is None else torch.where(when, tokens, torch.full_like(tokens, -1))

    def thing(slot: Tensor) -> Tensor:
        return torch.stack([colour[named.colour[rows, slot]], shape[named.shape[rows, slot]]], dim=1)

    second = thing(torch.ones_like(first))
    parts = [
        said("a"), thing(first), said("and a", both), torch.where(both, second, torch.full_like(second, -1)),
        said("on a"), ground[named.background][:, None], said("background"), style[named.style],
    ]  # fmt: skip
    return packed(torch.cat(parts, dim=1))


_OLD, _NEW = -2, -3


def _patterns() -> Int[Tensor, "kind template word"]:
    place = {word: k for k, word in enumerate(VOCABULARY)} | {"{old}": _OLD, "{new}": _NEW}
    found = torch.full((len(KINDS), 6, 12), -1)
    for i, kind in enumerate(KINDS):
        for j, text in enumerate(TEMPLATES[kind]):
            words = [place[w] for w in text.split()]
            found[i, j, : len(words)] = torch.tensor(words)
    return found


_PATTERNS = _patterns()


# -- reading attributes off a picture ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Pictures of the scenes with and without their edit, and of every scene that differs from either in one attribute.

    Attributes are style, background, and presence, colour and shape of either thing; row 0 of an attribute's options is the truth.
    """

    options: tuple[Float[Tensor, "batch context option 3 height width"], ...]
    """Per attribute the candidate pictures, the true one first; in the context of the edited scene, then of the unedited one."""
    readable: Bool[Tensor, "batch attribute"]
    """Where the attribute exists and a picture shows it."""
    edited: Int[Tensor, " batch"]
    """Which attribute the edit changes."""


ATTRIBUTES = ("style", "background", "present0", "colour0", "shape0", "present1", "colour1", "shape1")


def truth(world: ScenesWorld, found: Edits, indices: Int[Tensor, " batch"], visible: float = 1e-3) -> Truth:
    """The candidates of every attribute, drawn without noise at the scenes' own places.

    An attribute is readable when each other value changes the edited picture by a mean squared difference of at least `visible`.
    """
    clean = ScenesWorld(replace(world.config, noise=0.0), world.seed)
    rows = torch.arange(len(indices), device=indices.device)
    sides = [
        [
            torch.stack([clean.draw(named, indices).image for named in _others(scene, name)], dim=1)
            for name in ATTRIBUTES
        ]
        for scene in (found.after, found.before)
    ]
    every = tuple(torch.stack(pair, dim=1) for pair in zip(*sides, strict=True))
    readable = []
    for name, options in zip(ATTRIBUTES, every, strict=True):
        apart = (options[:, 0, 1:] - options[:, 0, :1]).square().mean(dim=(2, 3, 4)).amin(dim=1)
        readable.append(_exists(found, name) & (apart >= visible))
    place = torch.tensor(
        [ATTRIBUTES.index(n) for n in ("colour0", "shape0", "present0", "background", "style", "style")]
    )
    edited = place.to(indices.device)[found.kind] + 3 * found.slot * (found.kind < 3)
    shown = torch.stack(readable, dim=1)
    shown[rows, edited] = True
    return Truth(every, shown, edited)


def _exists(found: Edits, attribute: str) -> Bool[Tensor, " batch"]:
    if attribute in ("style", "background"):
        return torch.ones_like(found.kind, dtype=torch.bool)
    slot = int(attribute[-1])
    here = found.before.present[:, slot]
    return here if attribute.startswith("present") else here & found.after.present[:, slot]


def _others(scene: Named, attribute: str) -> list[Named]:
    """The scene, and the scene with every other value of an attribute."""
    if attribute == "style":
        now = torch.stack([scene.style == s for s in _STYLES]).int().argmax(dim=0)
        table = torch.tensor(_STYLES, device=now.device)
        return [scene.edited(style=table[(now + k) % len(_STYLES)]) for k in range(len(_STYLES))]
    if attribute == "background":
        return [scene.edited(background=(scene.background + k) % len(BACKGROUNDS)) for k in range(len(BACKGROUNDS))]
    name, slot = attribute[:-1], int(attribute[-1])
    here = torch.zeros_like(scene.present)
    here[:, slot] = True
    if name == "present":
        return [scene, scene.edited(present=torch.where(here, ~scene.present, scene.present))]
    values = list(range(len(COLOURS))) if name == "colour" else list(_DISTINCT)
    table, now = torch.tensor(values, device=here.device), getattr(scene, name)
    place = (table == now[:, slot, None]).int().argmax(dim=1)
    return [
        scene.edited(**{name: torch.where(here, table[(place + k) % len(values)][:, None], now)})
        for k in range(len(values))
    ]


def judged(
    image: Float[Tensor, "batch 3 height width"], known: Truth
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Whether the edited attribute reads as asked (0 or 1), and the share of the other readable attributes that read as before.

    An attribute reads as the candidate whose picture is nearest in squared error; candidates differ only where the attribute shows.
    Whether the rest is kept does not hang on the edit: it is read among candidates with and without it.
    """
    rows = torch.arange(len(image), device=image.device)
    asked, same = [], []
    for options in known.options:
        apart = (options - image[:, None, None]).square().mean(dim=(3, 4, 5))
        asked.append(apart[:, 0].argmin(dim=1) == 0)
        same.append(apart.flatten(1).argmin(dim=1) % apart.shape[2] == 0)
    others = known.readable.clone()
    others[rows, known.edited] = False
    kept = (torch.stack(same, dim=1) & others).sum(dim=1) / others.sum(dim=1).clamp(min=1)
    return torch.stack(asked, dim=1)[rows, known.edited].float(), kept
