"""Reader of InstructPix2Pix's released pairs: a folder a prompt, with captions, an instruction and pictures by seed."""

import json
from functools import cache
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor, stack

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require
from vislab.datasets.pictures import centre_crop

SHARES = {"train": (0.0, 0.9), "validation": (0.9, 0.95), "test": (0.95, 1.0)}
"""The splits by order of seeds.json."""


@cache
def prompts(dataset: DataSet, root: Path, split: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(folder, seeds) of every prompt of a split; UserError where seeds.json is missing or damaged."""
    file = require(dataset, root / "seeds.json")
    try:
        every = [(str(folder), tuple(str(s) for s in seeds)) for folder, seeds in json.loads(file.read_text())]
    except (ValueError, TypeError) as error:
        raise damaged(dataset, file, error) from error
    low, high = (round(share * len(every)) for share in SHARES[split])
    found = tuple((folder, seeds) for folder, seeds in every[low:high] if seeds)
    if not found:
        raise damaged(dataset, file, f"no prompt for the split {split}")
    return found


def read(
    dataset: DataSet, root: Path, split: str, index: Int[Tensor, " batch"], size: int
) -> tuple[tuple[Float[Tensor, "batch 3 size size"], Tensor], tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]:
    """Pictures before and after in [0, 1], and caption, instruction, edited caption of the items.

    Item i is prompt i modulo their number; every round over the prompts takes the next of a prompt's seeds.
    Raises UserError for a missing or damaged file.
    """
    every = prompts(dataset, root, split)
    pictures, texts = [], []
    for i in index.tolist():
        folder, seeds = every[i % len(every)]
        seed = seeds[i // len(every) % len(seeds)]
        pictures.append([centre_crop(dataset, root / folder / f"{seed}_{k}.jpg", size) for k in (0, 1)])
        texts.append(_words(dataset, root / folder / "prompt.json"))
    before, after = (stack(side) for side in zip(*pictures, strict=True))
    captions, instructions, edited = zip(*texts, strict=True)
    return (before, after), (captions, instructions, edited)


def _words(dataset: DataSet, file: Path) -> tuple[str, str, str]:
    try:
        content = json.loads(require(dataset, file).read_text())
        return content["input"], content["edit"], content["output"]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(dataset, file, error) from error


def write_sample(root: Path) -> None:
    """Twenty prompts of one pair each, red before and green after, in the released layout."""
    from PIL import Image

    entries = []
    for k in range(20):
        folder = f"shard-00/{k:07d}"
        place = root / folder
        place.mkdir(parents=True)
        Image.new("RGB", (40, 32), (200, 10 * k, 0)).save(place / "7_0.jpg")
        Image.new("RGB", (40, 32), (0, 200, 10 * k)).save(place / "7_1.jpg")
        words = {"input": f"red thing {k}", "edit": "make it green", "output": f"green thing {k}"}
        (place / "prompt.json").write_text(json.dumps(words))
        (place / "metadata.jsonl").write_text(json.dumps({"seed": 7}) + "\n")
        entries.append([folder, ["7"]])
    (root / "seeds.json").write_text(json.dumps(entries))
