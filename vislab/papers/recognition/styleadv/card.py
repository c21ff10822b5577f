"""StyleAdv's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of StyleAdv depends on."""

    style: Literal["adversarial", "swap", "random", "mix", "features", "pixels", "none"] = "adversarial"
    """Where the second view of an episode comes from; without one, the episode alone is learnt."""
    blocks: tuple[int, ...] = (1, 2, 3)
    """Stages of the backbone whose styles are changed, counted from 1."""
    strengths: tuple[float, ...] = (0.8, 0.08, 0.008)
    """The pool from which a stage's strength is drawn."""
    progressive: bool = True
    """Whether a stage is attacked on features that carry the changes of the stages before."""
    attack_loss: Literal["class", "few_shot"] = "class"
    """The loss that an attack raises: of the global classifier, or of the few-shot task."""
    clamped: bool = False
    """Whether negative standard deviations are set to zero."""
    skip: float = 0.4
    """Probability that a stage keeps its own style in the second view."""
    weight_styled: float = 1.0
    """Weight of the few-shot loss of the second view."""
    weight_consistency: float = 1.0
    """Weight of the divergence between the scores of both views."""
    weight_class: float = 1.0
    """Weight of the global classifier's loss of the first view."""
    follow: Literal["paper", "code"] = "paper"
    """The attack's random start and the ViT's channels as in the text; or a constant start and reshaped tokens as in the code."""
    backbone: Literal["resnet", "vit"] = "resnet"
    """ResNet-10, or a ViT with a class token."""
    head: Literal["graph", "cosine"] = "graph"
    """The graph network, or prototypes with cosine scores."""
    width: int = 64
    """Channels of the ResNet's first stage."""
    vit_width: int = 384
    """Channels of the ViT's tokens."""
    depth: int = 12
    """Blocks of the ViT."""
    patch: int = 16
    """Side of the ViT's patches in pixels."""
    heads: int = 6
    """Attention heads of the ViT."""
    node_features: int = 128
    """Features of a node of the graph, without its label."""
    graph_width: int = 96
    """Width of the graph network."""
    way: int = 5
    """Classes of an episode."""
    shots: int = 5
    """Labelled pictures of a class in a training episode."""
    queries: int = 16
    """Pictures of a class whose label is sought."""
    source: Literal["world", "mini_imagenet"] = "mini_imagenet"
    """Procedural classes, or miniImageNet and its target data sets."""
    targets: tuple[str, ...] = ("cub", "cars", "places", "plantae", "crop_disease", "eurosat", "isic", "chestx")
    """Domains that are seen in the test alone."""
    base_classes: int = 64
    """Classes of training."""
    validation_classes: int = 16
    """Classes of validation."""
    novel_classes: int = 20
    """Classes of the test."""
    gap: float = 0.5
    """World: how far look-alike classes are apart."""
    noise: float = 0.08
    """World: standard deviation of the pixel noise, which a style does not change."""
    image_size: int = 224
    """Height and width in pixels."""
    crop_padding: int = 28
    """Augmentation: random crops from an image padded by this, and flips."""
    jitter: float = 0.4
    """Augmentation: largest relative change of brightness, contrast and saturation."""
    pretrain_steps: int = 960000
    """Steps of the supervised warm start (400 epochs); a ViT for miniImageNet has DINO's weights from timm instead."""
    pretrain_batch_size: int = 16
    """Images a step of it."""
    pretrain_learning_rate: float = 1e-3
    """Learning rate of Adam in it."""
    head_steps: int = 0
    """Steps on episodes of the warm start's frozen features that give the graph network a start too; the paper has none."""
    steps: int = 20000
    """Training episodes (200 epochs of 100)."""
    batch_size: int = 1
    """Episodes a step."""
    learning_rate: float = 1e-3
    """Learning rate of Adam (ResNet) or of SGD (ViT)."""
    class_factor: float = 20.0
    """Learning rate of the ViT's classifier over that of the rest."""
    finetune_steps: int = 0
    """Steps on pseudo episodes from a test episode's support set; 0 leaves the network as it is."""
    finetune_learning_rate: float = 1e-3
    """Learning rate of Adam in them."""
    finetune_queries: int = 15
    """Augmented pictures of each class that are the queries of a pseudo episode."""
    train_items: int = 38400
    """Training images."""
    validation_items: int = 9600
    """Validation images."""
    test_items: int = 12000
    """Test images of each domain."""
    test_episodes: int = 1000
    """Test episodes of each domain and number of shots."""
    eval_batch_size: int = 200
    """Images a batch in evaluation."""


STYLES = ("fog", "night", "sketch", "palette", "weave", "grey")
"""The world's target domains."""

_TUTORIAL = Config(
    width=16, vit_width=48, depth=4, patch=8, heads=4, class_factor=1.0, node_features=32, graph_width=16,
    shots=1, queries=4,
    source="world", targets=STYLES, base_classes=40, validation_classes=10, novel_classes=10, image_size=32, crop_padding=3,
    pretrain_steps=300, pretrain_batch_size=64, head_steps=150, steps=150, train_items=2000, validation_items=300, test_items=300,
    test_episodes=50,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, width=8, vit_width=16, node_features=8, graph_width=8, way=3, queries=2, base_classes=8, validation_classes=4,
        novel_classes=4, pretrain_steps=4, pretrain_batch_size=16, head_steps=2, steps=3, train_items=80, validation_items=40,
        test_items=40, test_episodes=3,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, width=32, vit_width=96, node_features=64, graph_width=48, queries=16, image_size=64, crop_padding=6,
        pretrain_steps=4000, steps=2000, train_items=20000, validation_items=600, test_items=600, test_episodes=600,
    ),
    "paper": Config(),
}  # fmt: skip
BENCH_WORLD = {"targets": STYLES}

METRICS = (
    metric("accuracy"),
    metric("accuracy_1shot"),
    metric("accuracy_5shot"),
    metric("accuracy_source"),
    metric("loss_original"),
    metric("loss_swap"),
    metric("loss_random"),
    metric("loss_adversarial"),
    metric("statistics_original"),
    metric("statistics_swap"),
    metric("statistics_random"),
    metric("statistics_adversarial"),
    metric("seconds_ratio"),
)

PLAIN = {"style": "none"}
COSINE = {"head": "cosine"}
VIT = {"backbone": "vit", "head": "cosine", "learning_rate": 5e-5}
_NO_DINO = {"profiles": ("smoke", "tutorial", "paper"), "why": "the paper's learning rate belongs to DINO's weights"}
SLOW, CALM = {"learning_rate": 1e-4}, {"learning_rate": 3e-4}
"""What tuning chose: for the graph network, and for prototypes and the ViT."""
_DEAR = ("smoke", "gpu", "paper")
_BUDGET = "the tutorial's budget is spent on the judged arms"
ARMS = (
    Arm("styleadv", "episodes also in styles attacked by gradient: the paper's method", "method", tuned=SLOW),
    Arm("plain", "episodes in their own style alone", "baseline", PLAIN, tuned=SLOW),
    Arm("swap", "the second view has the styles of another episode, as in wave-SAN", "baseline", {"style": "swap"}, tuned=SLOW),
    Arm("random", "the second view's styles are moved at random by the same amount", "baseline", {"style": "random"}, tuned=SLOW),
    Arm("fixed", "one strength instead of a pool", "ablation", {"strengths": (0.08,)}, tuned=SLOW),
    Arm("single", "the first block alone is attacked", "ablation", {"blocks": (1,)}, tuned=SLOW),
    Arm("independent", "every block is attacked without the changes of the others", "ablation", {"progressive": False}, tuned=SLOW),
    Arm("cosine", "prototypes instead of the graph network, no second view", "baseline", PLAIN | COSINE, tuned=CALM),
    Arm("cosine_adv", "prototypes, with attacked styles", "baseline", COSINE, tuned=CALM),
    Arm("vit", "a small ViT with prototypes, no second view", "baseline", PLAIN | VIT, **_NO_DINO, tuned=CALM),
    Arm("vit_adv", "the ViT with attacked styles", "baseline", VIT, **_NO_DINO, tuned=CALM),
    Arm("mix", "the second view's styles are mixed with another episode's (MixStyle)", "ablation", {"style": "mix"}, tuned=SLOW),
    Arm("pixels", "pixels are attacked instead of styles", "ablation", {"style": "pixels"}, tuned=SLOW),
    Arm("features", "every entry of the feature maps is attacked", "ablation", {"style": "features"}, tuned=SLOW),
    Arm("no_consistency", "without the divergence between both views", "ablation", {"weight_consistency": 0.0}, tuned=SLOW),
    Arm("few_shot_attack", "the attack raises the few-shot loss", "ablation", {"attack_loss": "few_shot"}, tuned=SLOW),
    Arm("blocks_12", "two blocks attacked", "ablation", {"blocks": (1, 2)}, profiles=_DEAR, why=_BUDGET),
    Arm("clamped", "negative standard deviations become zero", "ablation", {"clamped": True}, profiles=_DEAR, why=_BUDGET),
    Arm("released", "a constant start, as in the authors' code", "ablation", {"follow": "code"}, profiles=_DEAR, why=_BUDGET),
    Arm("finetuned", "fine-tuned on every test episode's support set", "ablation", {"finetune_steps": 10, "test_episodes": 10},
        profiles=("gpu", "paper"), why="every test episode trains a network of its own"),
)  # fmt: skip


def _gain(metric: str, rival: str, says: str) -> Part:
    return Part("difference", metric, ("styleadv", rival), says)


CLAIMS = (
    Claim(
        "C1",
        "Few-shot learners trained with attacked styles recognise more in domains they have never seen.",
        "best of all methods on eight target data sets (abstract)",
        (
            _gain("accuracy_1shot", "plain", "1-shot accuracy on unseen styles against episodes in their own style"),
            _gain("accuracy_5shot", "plain", "5-shot accuracy against the same"),
            _gain("accuracy_1shot", "swap", "1-shot accuracy against swapped styles"),
            _gain("accuracy_5shot", "swap", "5-shot accuracy against swapped styles"),
            _gain("accuracy_1shot", "random", "1-shot accuracy against random styles of the same size"),
            _gain("accuracy_5shot", "random", "5-shot accuracy against random styles of the same size"),
        ),
    ),
    Claim(
        "C2",
        "Attacked styles are harder than swapped ones, and further from the source's styles.",
        "hard and virtual instead of easy and real styles (introduction)",
        (
            Part("difference", "loss_adversarial", ("plain",), "few-shot loss in attacked styles minus that in swapped ones",
                 reduce=lambda seed: seed["plain"]["loss_adversarial"] - seed["plain"]["loss_swap"]),
            Part("difference", "loss_swap", ("plain",), "few-shot loss in swapped styles minus that in the original ones",
                 reduce=lambda seed: seed["plain"]["loss_swap"] - seed["plain"]["loss_original"]),
            Part("difference", "loss_adversarial", ("plain",), "few-shot loss in attacked styles minus that in random ones",
                 reduce=lambda seed: seed["plain"]["loss_adversarial"] - seed["plain"]["loss_random"]),
            Part("difference", "statistics_adversarial", ("plain",),
                 "distance to the nearest source style, attacked minus swapped",
                 reduce=lambda seed: seed["plain"]["statistics_adversarial"] - seed["plain"]["statistics_swap"]),
        ),
    ),
    Claim(
        "C3",
        "A progressive attack with drawn strengths beats one strength, one block, and blocks attacked apart.",
        "the progressive strategy and the changing ratios improve the results (introduction)",
        (
            _gain("accuracy", "fixed", "accuracy against one strength"),
            _gain("accuracy", "single", "accuracy against one block"),
            _gain("accuracy", "independent", "accuracy against blocks attacked apart"),
        ),
    ),
    Claim(
        "C4",
        "The attack helps whatever the head and the backbone.",
        "on ResNet and ViT alike, and complementary to other methods (abstract)",
        (
            _gain("accuracy", "plain", "gain with the graph network"),
            Part("difference", "accuracy", ("cosine_adv", "cosine"), "gain with prototypes"),
            Part("difference", "accuracy", ("vit_adv", "vit"), "gain with a ViT"),
        ),
    ),
)  # fmt: skip

_JSON = "{folder}/base.json\n{folder}/val.json\n{folder}/novel.json\n  (label_names, image_names, image_labels)"
_FWT = "https://github.com/hytseng0509/CrossDomainFewShot"
_BSCD = "https://github.com/IBM/cdfsl-benchmark"
DATASETS = (
    DataSet("miniImageNet", "mini_imagenet", _JSON.format(folder="mini_imagenet"), _FWT, ("accuracy_source",)),
    *(DataSet(n, f, _JSON.format(folder=f), _FWT, ("accuracy",)) for n, f in
      (("CUB", "cub"), ("Cars", "cars"), ("Places", "places"), ("Plantae", "plantae"))),
    DataSet("CropDisease", "crop_disease", "crop_disease/CLASS/IMAGE.jpg", _BSCD, ("accuracy",)),
    DataSet("EuroSAT", "eurosat", "eurosat/CLASS/IMAGE.jpg", _BSCD, ("accuracy",)),
    DataSet("ISIC 2018", "isic", "isic/ISIC2018_Task3_Training_GroundTruth.csv\nisic/ISIC2018_Task3_Training_Input/IMAGE.jpg",
            _BSCD, ("accuracy",)),
    DataSet("ChestX-ray14", "chestx", "chestx/Data_Entry_2017.csv\nchestx/images/IMAGE.png", _BSCD, ("accuracy",)),
)  # fmt: skip

_JUDGED = (
    "styleadv", "plain", "swap", "random", "fixed", "single", "independent", "cosine", "cosine_adv", "vit", "vit_adv",
)  # fmt: skip
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3)})
TUNING |= dict.fromkeys(("vit", "vit_adv"), {"learning_rate": (3e-4, 1e-3, 3e-3, 1e-2)})
TUNING_METRIC = "accuracy_source"

PAPER = Paper(
    slug="styleadv",
    part="recognition",
    title="StyleAdv: Meta Style Adversarial Training for Cross-Domain Few-Shot Learning",
    first_author="Fu",
    year=2023,
    summary=(
        "The means and deviations of a network's features are attacked by gradient, and a few-shot learner that also learns in those "
        "styles is meant to recognise new classes in domains it has never seen."
    ),
    links={"code": "https://github.com/lovelyqian/StyleAdv-CDFSL"},
    reported=(
        Reported("parameters", 5_340_538, "ResNet-10, graph network and classifier, counted from the released code"),
        Reported("accuracy_1shot", 48.1, "mean of eight targets", "%", confirmed=False),
        Reported("accuracy_5shot", 63.8, "mean of eight targets", "%", confirmed=False),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
)
