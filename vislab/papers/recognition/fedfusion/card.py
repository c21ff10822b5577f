"""FedFusion's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of FedFusion depends on."""

    statistics: Literal["averaged", "pooled", "fused", "own"] = "fused"
    """Global normalisation statistics: means of the clients', total moments, the mixture's moments; or each client keeps its layers."""
    weighting: Literal["size", "distance", "component"] = "distance"
    """How much a client's weights count: by items, by items and nearness to the global mixture, or every component alike."""
    distance: Literal["kl", "wasserstein"] = "kl"
    """Between a client's mixture and everybody's."""
    temperature: float = 1.0
    """Distance at which a client counts 1 / e times as much."""
    fusion: Literal["none", "vae", "gaussians", "known"] = "vae"
    """How the mixture is found: not at all, by the autoencoder, by expectation maximisation, or told the hidden domains."""
    components: int = 4
    """Virtual components."""
    hidden: int = 64
    """Units of the autoencoder's encoder."""
    latent: int = 16
    """Latent dimensions of the autoencoder."""
    fusion_steps: int = 150
    """The autoencoder's steps a round."""
    fusion_learning_rate: float = 1e-3
    """Of the autoencoder's Adam."""
    weight_divergence: float = 1.0
    """Weight of the autoencoder's divergence, reached half way through a round's steps."""
    fusion_draw: int = 0
    """Which draw of the autoencoder's initial weights and noise."""
    weight_proximal: float = 0.0
    """FedProx: mu of the pull back to the round's global weights."""
    clusters: int = 1
    """IFCA: global models, of which a client trains the one that fits it best."""
    network: Literal["convolutional", "resnet18"] = "resnet18"
    """The clients' network."""
    width: int = 16
    """Channels of the convolutional network's first two layers."""
    source: Literal["world", "cifar10", "cifar100", "mnist", "fashion_mnist"] = "cifar10"
    """Procedural classes in hidden styles, or a real data set."""
    classes: int = 10
    """Number of classes."""
    domains: int = 1
    """World: hidden styles, dealt out to clients in turn; 1 leaves pictures as they are drawn."""
    clients: int = 100
    """Number of clients."""
    clients_a_round: int = 10
    """Clients that take part in a round."""
    partition: Literal["dirichlet", "shards", "quantity", "even"] = "dirichlet"
    """Labels by Dirichlet shares, by shards of few classes, sizes that halve every second client, or all alike."""
    concentration: float = 0.5
    """Of the Dirichlet distribution: small is uneven."""
    classes_each: int = 2
    """Shards a client gets."""
    least: int = 10
    """Fewest items of a client under Dirichlet shares."""
    rounds: int = 200
    """Communication rounds."""
    local_epochs: int = 5
    """Epochs of a client in a round."""
    target_accuracy: float = 60.0
    """Validation accuracy in percent whose first round is counted."""
    gap: float = 0.5
    """World: how far look-alike classes are apart in the cue that tells them."""
    noise: float = 0.08
    """World: standard deviation of the pixel noise."""
    pose_jitter: float = 0.4
    """World: freedom of place, size and rotation."""
    image_size: int = 32
    """Height and width in pixels."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 0.03
    """Of the clients' SGD."""
    momentum: float = 0.9
    """Of the clients' SGD, reset every round."""
    weight_decay: float = 5e-4
    """Weight decay."""
    train_items: int = 45000
    """Training items of all clients."""
    validation_items: int = 1000
    """Validation items, balanced over classes and domains."""
    test_items: int = 10000
    """Test items, balanced over classes and domains."""
    eval_batch_size: int = 500
    """Images a batch in evaluation."""


_TUTORIAL = Config(
    network="convolutional", source="world", domains=3, clients=10, clients_a_round=10, concentration=0.3, least=20, rounds=15,
    local_epochs=1, image_size=20, batch_size=16, hidden=128, fusion_learning_rate=1e-2, target_accuracy=51.0, train_items=2000,
    validation_items=600, test_items=1800,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, rounds=2, clients=4, clients_a_round=4, train_items=80, validation_items=60, test_items=60, image_size=16,
        width=8, batch_size=16, fusion_steps=5, components=3, hidden=16, least=5,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, network="resnet18", clients=20, clients_a_round=20, train_items=20000, test_items=6000, image_size=32, rounds=40,
        local_epochs=2, hidden=64, batch_size=64,
    ),
    "paper": Config(),
}  # fmt: skip

METRICS = (
    metric("accuracy"),
    metric("accuracy_palette"),
    metric("accuracy_weave"),
    metric("accuracy_fog"),
    metric("accuracy_local"),
    metric("rounds_target"),
    metric("statistics_error"),
    metric("statistics_error_averaged"),
    metric("statistics_error_pooled"),
    metric("rand_domains"),
    metric("bytes"),
    metric("seconds_ratio"),
    metric("seconds_ratio_low"),
    metric("seconds_ratio_high"),
)

PLAIN = {"fusion": "none", "weighting": "size"}
AVERAGED = PLAIN | {"statistics": "averaged"}
TUNED = {"learning_rate": 0.06, "temperature": 3.0}
"""What tuning chose for every arm that merges by a mixture."""
RATE = {"learning_rate": 0.05}
"""What it chose for federated averaging, with either statistics."""
_DEAR = ("smoke", "gpu", "paper")
ARMS = (
    Arm("fedfusion", "statistics and weights merged by the inferred mixture: our reading of the method", "method", tuned=TUNED),
    Arm("fedavg", "weights and statistics averaged by the number of items", "baseline", AVERAGED, tuned=RATE),
    Arm("fedprox", "the same, clients pulled back to the global weights", "baseline", AVERAGED | {"weight_proximal": 0.1},
        tuned={"learning_rate": 0.06, "weight_proximal": 0.1}),
    Arm("pooled", "averaged weights, statistics by the law of total variance", "baseline", PLAIN | {"statistics": "pooled"}, tuned=RATE),
    Arm("statistics_only", "the mixture gives the statistics, weights are averaged", "ablation", {"weighting": "size"}, tuned=TUNED),
    Arm("weights_only", "the mixture gives the weights, statistics are averaged", "ablation", {"statistics": "averaged"}, tuned=TUNED),
    Arm("component", "every virtual component has an equal say", "ablation", {"weighting": "component"}, tuned=TUNED),
    Arm("gaussians", "expectation maximisation in place of the autoencoder", "ablation", {"fusion": "gaussians"}, tuned=TUNED),
    Arm("known", "the hidden domains are told", "ablation", {"fusion": "known"}, tuned=TUNED),
    Arm("one", "one component", "ablation", {"components": 1}, tuned=TUNED),
    Arm("two", "two components", "ablation", {"components": 2}, tuned=TUNED),
    Arm("eight", "eight components", "ablation", {"components": 8}, tuned=TUNED),
    Arm("draw_1", "another draw of the autoencoder", "ablation", {"fusion_draw": 1}, tuned=TUNED),
    Arm("draw_2", "a third draw of the autoencoder", "ablation", {"fusion_draw": 2}, tuned=TUNED),
    Arm("wasserstein", "Wasserstein distances in place of divergences", "ablation", {"distance": "wasserstein"}, tuned=TUNED),
    Arm("fedbn", "clients keep their normalisation layers", "ablation", AVERAGED | {"statistics": "own"}, tuned=RATE),
    Arm("ifca", "three global models, a client trains the one that fits it best", "ablation", AVERAGED | {"clusters": 3}, tuned=RATE),
    Arm("even", "federated averaging of clients that are all alike", "ablation", AVERAGED | {"partition": "even"}, tuned=RATE),
    Arm("one_class", "averaging with one class a client", "ablation", AVERAGED | {"partition": "shards", "classes_each": 1}, tuned=RATE),
    Arm("sizes", "federated averaging of clients of very different size", "ablation", AVERAGED | {"partition": "quantity"}, tuned=RATE,
        profiles=_DEAR, why="skewed sizes alone are no part of a claim"),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "Merging by the inferred distribution makes the global model more accurate on clients that differ.",
        "up to 12% above federated averaging and the state of the art (introduction)",
        (
            Part("difference", "accuracy", ("fedfusion", "fedavg"), "accuracy against federated averaging"),
            Part("difference", "accuracy", ("fedfusion", "fedprox"), "accuracy against FedProx"),
            Part("difference", "accuracy", ("fedfusion", "pooled"), "accuracy against averaging with total moments"),
        ),
    ),
    Claim(
        "C2",
        "It needs fewer rounds, and the server's extra work costs little.",
        "better convergence and training efficiency (introduction)",
        (
            Part("difference", "rounds_target", ("fedfusion", "fedavg"), "rounds to nine tenths of what averaging reaches"),
            Part("ratio", "seconds_ratio", ("compare",), "time of a round over averaging's, at most a tenth more", margin=1.1),
        ),
    ),
    Claim(
        "C3",
        "The mixture infers the unknown global distribution of features.",
        "a global distribution is inferred with maximal probability from limited statistics (introduction)",
        (
            Part(
                "difference", "statistics_error", ("fedfusion",), "distance from the true moments, averaged minus fused",
                reduce=lambda seed: seed["fedfusion"]["statistics_error_averaged"] - seed["fedfusion"]["statistics_error"],
            ),
            Part(
                "difference", "statistics_error", ("fedfusion",), "distance from the true moments, total moments minus fused",
                reduce=lambda seed: seed["fedfusion"]["statistics_error_pooled"] - seed["fedfusion"]["statistics_error"],
            ),
        ),
    ),
)  # fmt: skip

_CIFAR = "\n  (records of {} bytes: {}label, 3072 pixels, planes red, green, blue)"
_IDX = (
    "{0}/train-images-idx3-ubyte\n{0}/train-labels-idx1-ubyte\n{0}/t10k-images-idx3-ubyte\n{0}/t10k-labels-idx1-ubyte"
)
_SPLIT = '\n  optional: {}/partition.json, {{"0": [items of client 0], "1": [...], ...}}'
DATASETS = (
    DataSet(
        "CIFAR-10", "cifar10",
        "cifar10/cifar-10-batches-bin/data_batch_1.bin to data_batch_5.bin\ncifar10/cifar-10-batches-bin/test_batch.bin"
        + _CIFAR.format(3073, "") + _SPLIT.format("cifar10"),
        "https://www.cs.toronto.edu/~kriz/cifar.html", ("accuracy",),
    ),
    DataSet(
        "CIFAR-100", "cifar100",
        "cifar100/cifar-100-binary/train.bin\ncifar100/cifar-100-binary/test.bin"
        + _CIFAR.format(3074, "coarse label, fine ") + _SPLIT.format("cifar100"),
        "https://www.cs.toronto.edu/~kriz/cifar.html", ("accuracy",),
    ),
    DataSet("MNIST", "mnist", _IDX.format("mnist") + _SPLIT.format("mnist"), "http://yann.lecun.com/exdb/mnist/", ("accuracy",)),
    DataSet(
        "Fashion-MNIST", "fashion_mnist", _IDX.format("fashion_mnist") + _SPLIT.format("fashion_mnist"),
        "https://github.com/zalandoresearch/fashion-mnist", ("accuracy",),
    ),
)  # fmt: skip

_RATES = {
    "learning_rate": (0.003, 0.006, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3)
}
TUNING = {
    "fedfusion": {"learning_rate": (0.03, 0.06, 0.1, 0.3), "temperature": (0.1, 0.3, 1.0, 3.0)},
    "fedavg": _RATES,
    "fedprox": {"learning_rate": (0.01, 0.03, 0.06, 0.1), "weight_proximal": (0.01, 0.03, 0.1, 1.0)},
    "pooled": _RATES,
}
TUNING_METRIC = "accuracy"

PAPER = Paper(
    slug="fedfusion",
    part="recognition",
    title="Federated Learning With Data-Agnostic Distribution Fusion",
    first_author="Duan",
    year=2023,
    summary=(
        "The server explains the clients' normalisation statistics as mixtures of a few virtual components, found by an autoencoder, "
        "and merges their models by that mixture instead of by their number of items."
    ),
    links={"paper": "https://openaccess.thecvf.com/content/CVPR2023/html/"
           "Duan_Federated_Learning_With_Data-Agnostic_Distribution_Fusion_CVPR_2023_paper.html"},
    reported=(
        Reported("accuracy", 12.0, "largest gain of the global model over its rivals", "%"),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
)  # fmt: skip
