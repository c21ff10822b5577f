"""The text stage of section 3.1.1: a language model that turns a caption into an instruction and an edited caption.

The paper fine-tunes GPT-3 on 700 triplets written by people; here a small GPT-2 learns from 700 that a grammar wrote.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.shapes.captions import END, PAD, START, VOCABULARY, words
from vislab.worlds.shapes.edits import TEMPLATES, describe, edits, simple_config
from vislab.worlds.shapes.scenes import ScenesWorld

TRIPLETS = 700
LENGTH = 44
_SEPARATOR = VOCABULARY.index("<spare0>")


def triplets(seed: int, start: int, count: int) -> list[tuple[str, str, str]]:
    """(caption, instruction, edited caption) by the grammar."""
    index = torch.arange(start, start + count)
    found = edits(ScenesWorld(simple_config(32), seed), index, held_out=False)
    return list(zip(words(describe(found.before)), words(found.instruction), words(describe(found.after)), strict=True))


def rows(texts: list[tuple[str, ...]]) -> Int[Tensor, "text length"]:
    """Texts of a triplet as one row of tokens: start, the texts with separators between them, end, padding."""
    place = {word: k for k, word in enumerate(VOCABULARY)}
    found = torch.full((len(texts), LENGTH), PAD)
    for k, parts in enumerate(texts):
        inside = [token for part in parts for token in (*(place[w] for w in part.split()), _SEPARATOR)]
        ended = [START, *inside] if len(parts) < 3 else [START, *inside[:-1], END]
        found[k, : len(ended)] = torch.tensor(ended)
    return found


def language_model(seed: int, width: int = 64, layers: int = 2) -> Any:
    """A small GPT-2 with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    size = GPT2Config(
        vocab_size=len(VOCABULARY),
        n_positions=LENGTH,
        n_embd=width,
        n_layer=layers,
        n_head=4,
        bos_token_id=START,
        eos_token_id=END,
    )
    with counter.scope(seed, "init", "triplets"):
        return GPT2LMHeadModel(size)


def learn(model: Any, seed: int, steps: int, batch_size: int = 32, learning_rate: float = 3e-3) -> list[float]:
    """Steps of AdamW on the 700 triplets; the loss of every step."""
    text = rows(triplets(seed, 0, TRIPLETS))
    target = text.masked_fill(text == PAD, -100)
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate)
    losses = []
    model.train()
    for k in range(steps):
        pick = counter.integers(seed, "batches", torch.tensor([k]), "triplets", TRIPLETS, (batch_size,))[0]
        with counter.scope(seed, "noise", f"triplets{k}"):
            logits = model(input_ids=text[pick]).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), target[pick, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@torch.no_grad()
def write(model: Any, captions: list[str]) -> list[tuple[str, str, str]]:
    """An instruction and an edited caption for every caption, the likeliest word each time; unfinished parts stay empty."""
    model.eval()
    texts = []
    for caption in captions:
        row = [t for t in rows([(caption,)])[0].tolist() if t != PAD]
        while len(row) < LENGTH and row[-1] != END:
            row.append(int(model(input_ids=torch.tensor([row])).logits[0, -1].argmax()))
        parts = [[]]
        for token in row[1:]:
            if token == _SEPARATOR:
                parts.append([])
            elif token not in (END, PAD, START):
                parts[-1].append(VOCABULARY[token])
        said = [" ".join(p) for p in parts[:3]]
        texts.append(tuple(said + [""] * (3 - len(said))))
    return texts


def sound(triplet: tuple[str, str, str]) -> bool:
    """Whether the instruction is one of the grammar's and the edited caption is what it makes of the caption."""
    before, instruction, after = triplet
    for kind, templates in TEMPLATES.items():
        for template in templates:
            for old, new in _matches(template, instruction):
                if after == _applied(kind, before, old, new):
                    return True
    return False


def _matches(template: str, instruction: str) -> list[tuple[str, str]]:
    pattern, said = template.split(), instruction.split()
    if len(pattern) != len(said):
        return []
    slots = {"{old}": "", "{new}": ""}
    for want, word in zip(pattern, said, strict=True):
        if want in slots:
            slots[want] = word
        elif want != word:
            return []
    return [(slots["{old}"], slots["{new}"])]


def _applied(kind: str, caption: str, old: str, new: str) -> str:
    """The caption after an edit; the caption itself where there is nothing to edit."""
    said = caption.split()
    if kind == "background":
        said[said.index("background") - 1] = new
    elif kind in ("night", "sketch"):
        end = said.index("background") + 1
        said[end:] = ["at", "night"] if kind == "night" else ["as", "a", "sketch"]
    elif old in said and kind == "recolour":
        said[said.index(old) - 1] = new
    elif old in said and kind == "swap":
        said[said.index(old)] = new
    elif old in said and "and" in said:
        first, second = " ".join(said[: said.index("on")]).split(" and ")
        kept = second if old in first.split() else first
        said = [*kept.split(), *said[said.index("on") :]]
    return " ".join(said)
