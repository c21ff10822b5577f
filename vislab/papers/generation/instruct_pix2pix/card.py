"""InstructPix2Pix's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of InstructPix2Pix depends on."""

    method: Literal["editor", "sdedit", "optimised"] = "editor"
    """The paper's editor; the base model from a noisy version of the picture; an embedding optimised for every picture."""
    caption: Literal["after", "instruction"] = "after"
    """What SDEdit and the optimisation are told: the caption of the result, or the instruction."""
    initial: Literal["base", "scratch"] = "base"
    """Start the U-Net from the text-to-image model, or from random weights."""
    new_channels: Literal["zero", "random"] = "zero"
    """Weights of the added input channels at the start."""
    drop_text: float = 0.05
    """Share of items that lose the instruction alone."""
    drop_image: float = 0.05
    """Share of items that lose the picture alone."""
    drop_both: float = 0.05
    """Share of items that lose both."""
    least_noise: float = 0.0
    """Noise levels with a signal above 1 / `least_noise` count less, by that factor over their signal; with 0 all count the same."""
    image_scale: float = 1.5
    """Guidance of the picture, s_I."""
    text_scale: float = 7.5
    """Guidance of the instruction, s_T."""
    sweep: tuple[float, ...] = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2)
    """What the trade-off curve runs over: s_I of the editor, strength of SDEdit, share of the target embedding of the optimisation."""
    matched: float = 85.0
    """Percent of unedited attributes kept at which edit accuracies are compared."""
    base: Literal["zoo", "released"] = "released"
    """The text-to-image model to start from; with the world's pictures at the paper's size, random weights (the step benchmark)."""
    checkpoint: str = "stable_diffusion/v1-5-pruned-emaonly.safetensors"
    """Released Stable Diffusion weights below the data folder."""
    pair_share: float = 1.0
    """Share of the chosen pairs that is trained on."""
    filtered: bool = True
    """Whether pairs pass the filter and the best of each prompt are kept; without it, as many by index."""
    attention_sharing: bool = True
    """Whether the second picture uses the first one's self-attention in the early steps (prompt-to-prompt)."""
    follow: Literal["paper", "code"] = "paper"
    """Shared are the maps of self-attention and of the text, as in Prompt-to-Prompt, or self-attention's alone (released code)."""
    share_low: float = 0.1
    """Least share of the steps with shared attention."""
    share_high: float = 0.9
    """Greatest share."""
    guidance_low: float = 7.5
    """Least guidance of the text-to-image model."""
    guidance_high: float = 15.0
    """Greatest guidance."""
    guidance: float = 7.5
    """Guidance of the text-to-image model in the baselines."""
    candidates: int = 100
    """Pairs painted for every prompt."""
    keep: int = 4
    """Pairs kept of a prompt at most."""
    least_similarity: float = 0.7
    """Filter: cosine of the two pictures."""
    least_fit: float = 0.2
    """Filter: cosine of each picture and its caption."""
    least_direction: float = 0.2
    """Filter: cosine of the change of pictures and the change of captions."""
    pair_steps: int = 100
    """Sampling steps of the pairs."""
    sample_steps: int = 100
    """Sampling steps of an edit."""
    optimise_steps: int = 100
    """Steps of the optimisation for one picture."""
    width: int = 320
    """Channels of the U-Net's first level."""
    multiples: tuple[int, ...] = (1, 2, 4, 4)
    """Channels of its levels in multiples of `width`."""
    blocks: int = 2
    """Residual blocks of a level."""
    attention: tuple[bool, ...] = (True, True, True, False)
    """Which levels read the text."""
    heads: int = 8
    """Attention heads."""
    groups: int = 32
    """Groups of the group norms."""
    latent_channels: int = 4
    """Channels of a latent."""
    latent_scale: float = 0.18215
    """Factor that brings latents to unit variance; the zoo's model brings its own."""
    autoencoder_width: int = 128
    """Channels of the autoencoder's first level."""
    autoencoder_multiples: tuple[int, ...] = (1, 2, 4, 4)
    """Channels of its levels."""
    autoencoder_blocks: int = 2
    """Residual blocks of a level."""
    vocabulary: int = 49408
    """Tokens of the tokenizer."""
    text_places: int = 77
    """Places of the text encoder."""
    text_length: int = 77
    """Tokens that it reads."""
    text_width: int = 768
    """Its width."""
    text_depth: int = 12
    """Its blocks."""
    text_heads: int = 12
    """Its attention heads."""
    source: Literal["world", "released"] = "released"
    """Pairs painted by the zoo's model and tested on drawn scenes, or the released set."""
    image_size: int = 256
    """Height and width in pixels."""
    steps: int = 10_000
    """Optimisation steps."""
    batch_size: int = 1024
    """Pairs a step."""
    learning_rate: float = 1e-4
    """Learning rate of AdamW; for the optimised embedding, of Adam."""
    weight_decay: float = 0.01
    """Weight decay."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """Adafactor keeps no two moments a weight, for machines whose memory they would fill."""
    ema_decay: float = 0.9999
    """Moving average of the weights, which is what is evaluated."""
    train_items: int = 281_709
    """Training pairs; of the world, candidates before the filter."""
    validation_items: int = 15_650
    """Validation edits."""
    test_items: int = 15_651
    """Test edits."""
    eval_batch_size: int = 16
    """Edits a batch in evaluation."""


_TUTORIAL = Config(
    least_noise=10.0, image_scale=2.0, text_scale=3.0, sweep=(1.0, 2.0, 4.0), matched=80.0, base="zoo", guidance_low=2.0,
    guidance_high=4.0, guidance=2.0, candidates=3, keep=2, least_similarity=0.1, least_direction=0.45, pair_steps=10,
    sample_steps=10, optimise_steps=20, width=16, multiples=(1, 2, 4), blocks=1, attention=(False, True, True), heads=4, groups=4,
    latent_channels=4, autoencoder_width=12, autoencoder_multiples=(1, 2), autoencoder_blocks=1, vocabulary=166, text_places=32,
    text_length=16, text_width=96, text_depth=2, text_heads=4, source="world", image_size=32, steps=150, batch_size=16,
    learning_rate=1e-3, ema_decay=0.97, train_items=300, validation_items=48, test_items=48, eval_batch_size=48,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, steps=3, batch_size=8, train_items=18, validation_items=8, test_items=8, pair_steps=3, sample_steps=3,
        optimise_steps=2, sweep=(1.0, 2.0), least_similarity=-1.0, least_fit=-1.0, least_direction=-1.0,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, steps=3000, batch_size=64, train_items=12_000, candidates=4, ema_decay=0.995, test_items=400,
        pair_steps=25, sample_steps=25, optimise_steps=100, sweep=(1.0, 1.25, 1.5, 2.0, 3.0),
    ),
    "paper": Config(),
}  # fmt: skip

BENCH = {"batch_size": 1, "optimizer": "adafactor", "ema_decay": 0.0}
"""One step of 1024 pictures takes a CPU hours, and AdamW's moments with a second copy of the weights 10 GB."""

METRICS = (
    metric("area"),
    metric("accuracy_matched"),
    metric("accuracy"),
    metric("accuracy_kept"),
    metric("accuracy_seen"),
    metric("accuracy_heldout"),
    metric("direction"),
    metric("direction_generated"),
    metric("seconds_ratio"),
)

_NOT_SMOKE = ("tutorial", "gpu", "paper")
_SAME = "it runs the code of another arm with other numbers"
STRENGTHS = {"image_scale": 0.8, "sweep": (0.6, 0.8, 1.0)}
ARMS = (
    Arm("ip2p", "trained on filtered generated pairs, guided twice: the paper's method", "method"),
    Arm("sdedit", "SDEdit: the base model told the caption of the result, from a noisy version of the picture", "baseline",
        {"method": "sdedit"} | STRENGTHS, tuned={"guidance": 4.0}),
    Arm("optimised", "an embedding optimised for every picture, then moved to the caption of the result", "baseline",
        {"method": "optimised", "image_scale": 0.7, "learning_rate": 0.05, "sweep": (0.5, 0.7, 0.9)},
        tuned={"learning_rate": 0.02}),
    Arm("data10", "a random tenth of the pairs", "baseline", {"pair_share": 0.1}),
    Arm("data1", "a random hundredth of the pairs", "baseline", {"pair_share": 0.01}, tuned={"learning_rate": 3e-3}),
    Arm("unfiltered", "as many pairs, without the filter", "baseline", {"filtered": False}),
    Arm("scratch", "from random weights", "ablation", {"initial": "scratch"}, profiles=_NOT_SMOKE, why=_SAME),
    Arm("random_channels", "the added channels not zero at the start", "ablation", {"new_channels": "random"},
        profiles=_NOT_SMOKE, why=_SAME),
    Arm("single_scale", "the picture never dropped, s_I = 1", "ablation",
        {"drop_image": 0.0, "drop_both": 0.0, "image_scale": 1.0, "sweep": (1.0,)}, profiles=_NOT_SMOKE, why=_SAME),
    Arm("independent", "pairs painted without shared attention", "ablation", {"attention_sharing": False},
        profiles=_NOT_SMOKE, why=_SAME),
    Arm("sdedit_instruction", "SDEdit told the instruction", "ablation",
        {"method": "sdedit", "caption": "instruction"} | STRENGTHS, tuned={"guidance": 4.0},
        profiles=_NOT_SMOKE, why=_SAME),
    Arm("longer", "ten times the steps", "ablation", {"steps": 1500}, profiles=("tutorial",),
        why="the other profiles set their own number of steps"),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "At an equal change of the picture it stays closer to the input than SDEdit.",
        "a curve above SDEdit's at every image similarity (figure, no table)",
        (Part("difference", "area", ("ip2p", "sdedit"), "area below the trade-off of edit accuracy and attributes kept"),),
    ),
    Claim(
        "C2",
        "Less data and no filter both hurt.",
        "an ablation's curves (figure)",
        (
            Part("difference", "accuracy_matched", ("ip2p", "data10"), "edit accuracy at equal consistency, all pairs against a tenth"),
            Part("difference", "accuracy_matched", ("data10", "data1"), "a tenth against a hundredth"),
            Part("difference", "accuracy_matched", ("ip2p", "unfiltered"), "filtered against unfiltered"),
        ),
    ),
    Claim(
        "C3",
        "An edit is a plain sampling run, faster than optimising for every picture.",
        "in a matter of seconds (abstract)",
        (
            Part("ratio", "seconds_ratio", ("compare",), "seconds an edit over those of the optimisation with fine-tuning"),
            Part("noninferior", "accuracy_matched", ("ip2p", "optimised"), "edit accuracy at equal consistency", margin=5.0),
        ),
    ),
    Claim(
        "C4",
        "Trained on generated pairs alone, it works on real pictures and on instructions worded otherwise.",
        "generalises to real images and user-written instructions at inference time (abstract)",
        (
            Part(
                "noninferior", "accuracy_heldout", ("ip2p",), "edit accuracy with held-out wordings against known ones", margin=10.0,
                reduce=lambda seed: seed["ip2p"]["accuracy_heldout"] - seed["ip2p"]["accuracy_seen"],
            ),
            Part(
                "noninferior", "direction", ("ip2p",), "directional similarity on drawn pictures against generated ones", margin=0.05,
                reduce=lambda seed: seed["ip2p"]["direction"] - seed["ip2p"]["direction_generated"],
            ),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "InstructPix2Pix (filtered by CLIP)",
        "instruct_pix2pix/clip-filtered-dataset",
        "instruct_pix2pix/clip-filtered-dataset/seeds.json\n"
        "instruct_pix2pix/clip-filtered-dataset/shard-*/PROMPT/prompt.json, SEED_0.jpg, SEED_1.jpg, metadata.jsonl\n"
        "  (seeds.json: [[folder, [seeds]], ...]; prompt.json: input, edit, output)",
        "https://github.com/timothybrooks/instruct-pix2pix",
        ("direction",),
    ),
    DataSet(
        "InstructPix2Pix (random sample)",
        "instruct_pix2pix/random-sample-dataset",
        "instruct_pix2pix/random-sample-dataset/ laid out as the filtered set",
        "https://github.com/timothybrooks/instruct-pix2pix",
        ("direction",),
    ),
)

_RATES = {"learning_rate": (1e-3, 3e-3)}
TUNING = dict.fromkeys(("ip2p", "data10", "data1", "unfiltered"), _RATES) | {
    "sdedit": {"guidance": (2.0, 4.0), "learning_rate": (1e-3,)},
    "optimised": {"learning_rate": (0.02, 0.05)},
}
TUNING_METRIC = "area"

PAPER = Paper(
    slug="instruct_pix2pix",
    part="generation",
    title="InstructPix2Pix: Learning To Follow Image Editing Instructions",
    first_author="Brooks",
    year=2023,
    summary=(
        "A language model and a text-to-image model manufacture pairs of pictures with instructions; a diffusion model that is "
        "trained on them edits real pictures in one sampling run, with one guidance scale for the picture and one for the text."
    ),
    links={
        "project": "https://www.timothybrooks.com/instruct-pix2pix",
        "code": "https://github.com/timothybrooks/instruct-pix2pix",
    },
    reported=(
        Reported("parameters", 859_532_484, "U-Net with eight input channels, counted from the released code"),
        Reported("triplets", 454_445, "generated captions with instructions"),
        Reported("seconds", 9.0, "an edit of 512 pixels, 100 steps, one A100", "s", confirmed=False),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    zoo=("clip", "ldm"),
    compares=True,
    descends="loss",
)
