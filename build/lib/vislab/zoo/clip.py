"""A small CLIP on named scenes: pictures of one to three things in five styles, with captions that leave things out."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislab.errors import UserError
from vislab.nn.clip import CLIP, contrastive
from vislab.ops import counter
from vislab.worlds.base import absolute
from vislab.worlds.shapes.captions import LENGTH, VOCABULARY, CaptionConfig, captions, tokenize
from vislab.worlds.shapes.scenes import SHAPES, STYLES, Named, ScenesConfig, ScenesWorld
from vislab.zoo.base import Member

RECIPE = {
    "seed": 0, "image_size": 32, "patch": 4, "width": 96, "layers": 3, "heads": 4, "embed_dim": 96,
    "text_width": 96, "text_layers": 2, "text_heads": 4, "vocabulary": len(VOCABULARY),
    "steps": 3000, "batch_size": 128, "learning_rate": 1.5e-3, "weight_decay": 0.1, "warmup_steps": 100, "items": 60_000,
    "omit": 0.5, "alone": 0.6,
}  # fmt: skip
_CHUNK = 2000


def build(recipe: Mapping[str, Any]) -> CLIP:
    """The untrained network; pictures go in as sRGB in [0, 1] through `picture_input`."""
    with counter.scope(recipe["seed"], "init", "clip"):
        return CLIP(
            embed_dim=recipe["embed_dim"], image_resolution=recipe["image_size"], vision_layers=recipe["layers"],
            vision_width=recipe["width"], vision_patch_size=recipe["patch"], vision_heads=recipe["heads"],
            context_length=LENGTH, vocab_size=recipe["vocabulary"], transformer_width=recipe["text_width"],
            transformer_heads=recipe["text_heads"], transformer_layers=recipe["text_layers"],
        )  # fmt: skip


def picture_input(image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """sRGB in [0, 1] to what the small network expects: centred on zero."""
    return 2 * image - 1


def train(recipe: Mapping[str, Any], device: torch.device, say: Callable[[str], None]) -> CLIP:
    """Symmetric contrastive training on captions, AdamW, warm-up and cosine."""
    model = build(recipe).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), recipe["learning_rate"], weight_decay=recipe["weight_decay"])
    steps, warmup = recipe["steps"], recipe["warmup_steps"]
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup),
        ],
        [warmup],
    )
    world = ScenesWorld(ScenesConfig(image_size=recipe["image_size"]), recipe["seed"])
    index = torch.arange(recipe["items"])
    named = _some_alone(world.names(index), index < recipe["alone"] * recipe["items"]).to(device)
    index = index.to(device)
    image = torch.cat([world.draw(named[part], part).image.half() for part in index.split(_CHUNK)])
    told = CaptionConfig(omit=recipe["omit"])
    for k in range(steps):
        rows = counter.integers(
            recipe["seed"], "batches", torch.tensor([k]), "clip", recipe["items"], (recipe["batch_size"],)
        )[0]
        rows = rows.to(device)
        text = captions(named[rows], rows + k * recipe["items"], recipe["seed"], told)  # told anew at every step
        text = text[:, : int((text > 0).sum(dim=1).max())]
        loss = contrastive(*model(picture_input(image[rows].float()), text))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6052)  # as the released training: at most 100
        if k % 100 == 99:
            say(f"clip: step {k + 1} of {steps}, loss {float(loss):.3f}")
    return model


def _some_alone(named: Named, alone: Tensor) -> Named:
    """The first thing of the scenes in `alone` without its neighbours, and large: only so is its outline easy to see."""
    several = named.present.sum(dim=1) > 1
    size = torch.where((alone & several)[:, None], named.size + 1, named.size)
    first = torch.arange(named.present.shape[1]) == 0
    return named.edited(present=named.present & (first | ~alone[:, None]), size=size)


@torch.no_grad()
def measure(model: nn.Module, recipe: Mapping[str, Any]) -> dict[str, float]:
    """On test scenes: zero-shot accuracy of the shape of a lone thing over all styles, and caption retrieval among 100."""
    alone = ScenesWorld(ScenesConfig(image_size=recipe["image_size"], most=1), recipe["seed"])
    scenes = alone.sample(absolute("test", torch.arange(600)))
    prompts = torch.stack(
        [model.encode_text(tokenize([f"a photo of a {s}", f"a picture of a {s}"])).mean(dim=0) for s in SHAPES]
    )
    found = (model.encode_image(picture_input(scenes.image)) @ prompts.T).argmax(dim=1)
    right = found == scenes.named.shape[:, 0]
    result = {"zero_shot": 100 * float(right.float().mean())}
    for place, style in enumerate(STYLES):
        result[f"zero_shot_{style}"] = 100 * float(right[scenes.named.style == place].float().mean())
    index = absolute("test", torch.arange(1000, 2000))
    several = ScenesWorld(ScenesConfig(image_size=recipe["image_size"]), recipe["seed"]).sample(index)
    image, text = model.encode_image(picture_input(several.image)), model.encode_text(captions(several.named, index))
    logits = torch.einsum("gie,gte->git", image.reshape(10, 100, -1), text.reshape(10, 100, -1))
    result["retrieval"] = 100 * float((logits.argmax(dim=2) == torch.arange(100)).float().mean())
    return result


def real(source: str) -> tuple[nn.Module, Any, Any]:
    """A real CLIP through open_clip: network, picture transform, tokenizer.

    `source` is "MODEL/PRETRAINED" by open_clip's names, "openai/clip-vit-base-patch16" or "hf-hub:OWNER/NAME".
    Raises UserError when the weights are neither on this machine nor to be had.
    """
    import open_clip

    known = {
        "openai/clip-vit-base-patch16": ("ViT-B-16-quickgelu", "openai"),
        "openai/clip-vit-base-patch32": ("ViT-B-32-quickgelu", "openai"),
        "openai/clip-vit-large-patch14": ("ViT-L-14-quickgelu", "openai"),
    }
    name, _, weights = source.rpartition("/")
    name, weights = known.get(source, (source, None) if source.startswith("hf-hub:") else (name, weights))
    try:
        network, transform = open_clip.create_model_from_pretrained(name, weights)
        return network.eval().requires_grad_(False), transform, open_clip.get_tokenizer(name)
    except Exception as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"real CLIP {source!r} cannot be had: {line}; it needs the network once, or a local copy in open_clip's or the hub's cache"
        ) from error


MEMBER = Member(
    name="clip",
    says="pictures and captions of named scenes in one space",
    version=1,
    recipe=RECIPE,
    build=build,
    train=train,
    measure=measure,
    tolerance=0.5,
    real=real,
    sources=("openai/clip-vit-base-patch16", "openai/clip-vit-large-patch14", "MODEL/PRETRAINED of open_clip"),
)
