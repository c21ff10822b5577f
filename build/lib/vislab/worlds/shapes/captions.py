"""Captions of scenes as word indices: templates, omissions and relations, all drawn at once, and the words back."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.shapes.scenes import BACKGROUNDS, CELLS, COLOURS, SHAPES, SIZES, STYLES, TEXTURES, Named

TEMPLATES = (
    "", "a", "a photo of a", "a picture of a", "an image with a", "there is a", "i see a", "a view of a",
    "one can see a", "here is a", "a good photo of a", "a close picture of a",
)  # fmt: skip
"""What a caption begins with."""
STYLE_WORDS = {
    "photo": "in daylight",
    "sketch": "as a sketch",
    "fog": "in fog",
    "night": "at night",
    "palette": "in strange colours",
}
SYNONYMS = {"circle": "disc", "square": "box", "ring": "loop", "star": "asterisk", "gear": "cog", "cross": "plus"}
"""Second names of some shapes."""
_RELATIONS = ("left of", "right of", "above", "below")
_INSTRUCTION_WORDS = """
    make turn change paint colour color recolour replace swap remove delete erase take away put set give let become render draw
    show add darken want need should would please now into to with for by from be it its them the this that is are look like
    out get rid of instead without no only whole scene picture background style day daylight night dark sketch drawing pencil
    fog foggy strange colours colors shape thing object where was one new different something else same on over behind in at as
""".split()  # noqa: SIM905  a list of quoted words would hide the words
SPARE = 16
"""Places in the vocabulary kept free, so that words can be added without moving the others."""


def _collect() -> tuple[str, ...]:
    groups = [
        *TEMPLATES, *SHAPES, *SYNONYMS.values(), *COLOURS, *TEXTURES, *SIZES, *BACKGROUNDS, *STYLE_WORDS.values(), *_RELATIONS,
        "and a", "on a background", *_INSTRUCTION_WORDS,
    ]  # fmt: skip
    words = list(dict.fromkeys(word for group in groups for word in group.split()))
    spare = [f"<spare{k}>" for k in range(SPARE)]
    return ("<pad>", *words, *spare, "<start>", "<end>")


VOCABULARY: tuple[str, ...] = _collect()
"""Every word, its place the token; <end> is the highest, as CLIP's text tower wants it."""
LENGTH = 32
"""Tokens of a caption or an instruction, <start> and <end> included."""
PAD, START, END = 0, len(VOCABULARY) - 2, len(VOCABULARY) - 1
_PLACE = {word: place for place, word in enumerate(VOCABULARY)}


def tokenize(texts: list[str], length: int = LENGTH) -> Int[Tensor, "text length"]:
    """Words to tokens: <start>, the words, <end>, then <pad>.

    Raises ValueError for a word that the vocabulary lacks and for a text that is too long.
    """
    tokens = torch.full((len(texts), length), PAD)
    for row, text in enumerate(texts):
        words = text.lower().replace(",", " ").replace(".", " ").split()
        unknown = [word for word in words if word not in _PLACE]
        if unknown:
            raise ValueError(f"no such word in the vocabulary: {', '.join(unknown)} (in {text!r})")
        if len(words) > length - 2:
            raise ValueError(f"{text!r} has {len(words)} words; {length - 2} fit")
        tokens[row, : len(words) + 2] = torch.tensor([START, *(_PLACE[w] for w in words), END])
    return tokens


def words(tokens: Int[Tensor, "text length"]) -> list[str]:
    """Tokens back to text, without <start>, <end> and <pad>."""
    marks = {PAD, START, END}
    return [" ".join(VOCABULARY[t] for t in row if t not in marks) for row in tokens.tolist()]


def _table(phrases: list[str] | tuple[str, ...]) -> Int[Tensor, "phrase word"]:
    """Token rows of phrases, empty places -1."""
    most = max(len(p.split()) for p in phrases)
    return torch.tensor([[*(_PLACE[w] for w in p.split()), *[-1] * (most - len(p.split()))] for p in phrases])


def packed(slots: Int[Tensor, "batch slot"], length: int = LENGTH) -> Int[Tensor, "batch length"]:
    """Token slots, of which some are empty (-1), moved together between <start> and <end>.

    Raises ValueError when a row has more than `length` - 2 words.
    """
    batch, width = slots.shape
    filled = slots >= 0
    count = filled.sum(dim=1)
    if int(count.max()) > length - 2:
        raise ValueError(f"a text of {int(count.max())} words; {length - 2} fit")
    order = torch.argsort((~filled).long(), dim=1, stable=True)
    moved = torch.gather(slots, 1, order)[:, : length - 2]
    moved = torch.nn.functional.pad(moved, (1, max(0, length - 1 - moved.shape[1])), value=PAD)
    place = torch.arange(length, device=slots.device)
    text = torch.where(place <= count[:, None], moved[:, :length], torch.full_like(moved[:, :length], PAD))
    text[:, 0] = START
    text[torch.arange(batch, device=slots.device), count + 1] = END
    return text


@dataclass(frozen=True)
class CaptionConfig:
    """How much a caption leaves out."""

    omit: float = 0.3
    """Probability that each attribute (size, colour, texture, background, style) stays unsaid."""
    synonyms: float = 0.3
    """Probability that a shape with a second name gets it."""
    relations: float = 0.5
    """Probability that the first two things are put in relation rather than joined by "and"."""


def thing_slots(
    named: Named, slot: int, keep: Tensor | None = None, synonym: Tensor | None = None
) -> Int[Tensor, "batch 4"]:
    """Size, colour, texture and shape of the thing in `slot` as tokens; -1 where unsaid or where nothing stands.

    `keep` (batch, 3) bool says which of size, colour and texture are told, all by default; `synonym` (batch) asks for the second name.
    """
    device = named.shape.device
    tables = [_table(list(group)).squeeze(1).to(device) for group in (SIZES, COLOURS, TEXTURES, SHAPES)]
    second = _table([SYNONYMS.get(s, s) for s in SHAPES]).squeeze(1).to(device)
    values = (named.size, named.colour, named.texture, named.shape)
    found = torch.stack([table[value[:, slot]] for table, value in zip(tables, values, strict=True)], dim=1)
    if synonym is not None:
        found[:, 3] = torch.where(synonym, second[named.shape[:, slot]], found[:, 3])
    if keep is not None:
        found[:, :3] = torch.where(keep, found[:, :3], torch.full_like(found[:, :3], -1))
    return torch.where(named.present[:, slot, None], found, torch.full_like(found, -1))


def captions(
    named: Named, indices: Int[Tensor, " batch"], seed: int = 0, config: CaptionConfig | None = None
) -> Int[Tensor, "batch length"]:
    """A caption of every scene, drawn from `indices`: its template, what it leaves out, how it joins the things.

    Colour words are left out where the style hides or changes colours.
    """
    config = config or CaptionConfig()
    device, objects = named.shape.device, named.shape.shape[1]
    rows = torch.arange(len(indices), device=device)

    def chance(name: str, share: float, shape: tuple[int, ...] = ()) -> Tensor:
        return counter.uniform(seed, "world", indices, name, shape) < share

    def said(table: Tensor, choice: Tensor, when: Tensor) -> Tensor:
        found = table.to(device)[choice]
        return torch.where(when[:, None], found, torch.full_like(found, -1))

    always = torch.ones(len(indices), dtype=torch.bool, device=device)
    template = counter.integers(seed, "world", indices, "template", len(TEMPLATES))
    parts = [said(_table(TEMPLATES), template, always)]
    hides = torch.tensor([s in ("sketch", "palette") for s in STYLES], device=device)[named.style]
    keep = ~chance("omit", config.omit, (objects, 3))
    keep[:, :, 1] &= ~hides[:, None]
    synonym = chance("synonym", config.synonyms, (objects,))
    related = chance("related", config.relations)
    for k in range(objects):
        present = named.present[:, k]
        if k > 0:
            joined = present if k > 1 else present & ~related
            parts.append(said(_table(["and a"]), torch.zeros_like(rows), joined))
        if k == 1:
            parts.append(said(_table(_RELATIONS), _relation(named.cell[:, 0], named.cell[:, 1]), present & related))
            parts.append(said(_table(["a"]), torch.zeros_like(rows), present & related))
        parts.append(thing_slots(named, k, keep[:, k], synonym[:, k]))
    background = ~chance("omit background", config.omit) & ~hides
    parts += [
        said(_table(["on a"]), torch.zeros_like(rows), background),
        said(_table(list(BACKGROUNDS)), named.background, background),
        said(_table(["background"]), torch.zeros_like(rows), background),
        said(_table([STYLE_WORDS[s] for s in STYLES]), named.style, ~chance("omit style", config.omit)),
    ]
    return packed(torch.cat(parts, dim=1))


def _relation(first: Int[Tensor, " batch"], second: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Index into the relations: where the first cell lies as seen from the second; sideways where both apply."""
    place = torch.tensor(CELLS, device=first.device)
    across, down = (place[first] - place[second]).unbind(dim=1)
    sideways = torch.where(across < 0, 0, 1)
    upright = torch.where(down < 0, 2, 3)
    return torch.where(across != 0, sideways, upright)
