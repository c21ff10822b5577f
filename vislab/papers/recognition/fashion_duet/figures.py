"""What the chapter draws: garments and their sets, where attributes and classes look, ranked galleries, precision by size of the set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vislab.engine.fit import State
from vislab.papers.recognition.fashion_duet.card import Config
from vislab.papers.recognition.fashion_duet.data import attribute_names, items_of, pictures, world
from vislab.papers.recognition.fashion_duet.experiment import embedded, similarity
from vislab.worlds.base import absolute
from vislab.worlds.shapes.garments import ATTRIBUTES


def words(held: Tensor, attribute: int) -> str:
    """The classes that an attribute holds, by name."""
    names = list(ATTRIBUTES.values())[attribute]
    return " + ".join(names[c] for c in held[attribute].nonzero()[:, 0].tolist())


def samples(config: Config, seed: int, count: int = 5) -> tuple[list[Tensor], list[str]]:
    """Test garments and, line by line, what each of their attributes holds."""
    garments = world(config, seed).sample(absolute("test", torch.arange(count)))
    says = ["\n".join(words(h, a) for a in range(len(ATTRIBUTES))) for h in garments.held]
    return list(garments.image), says


def draw_samples(config: Config, seed: int) -> None:
    """`samples` in a row, their sets below."""
    import matplotlib.pyplot as plt

    image, says = samples(config, seed)
    figure, axes = plt.subplots(1, len(image), figsize=(9.6, 2.9))
    for axis, picture, text in zip(axes, image, says, strict=True):
        axis.imshow(picture.permute(1, 2, 0).numpy())
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(text, fontsize=8)
        axis.grid(False)
    figure.tight_layout()
    _show(figure)


def pair_with_overlap(config: Config, seed: int, attribute: int = 2) -> tuple[int, int, int]:
    """Three test items: two whose sets in an attribute share a class and differ in another, and one of the first one's set."""
    held, _ = world(config, seed).sets(absolute("test", torch.arange(600)))
    mine = held[:, attribute]
    first = int((mine.sum(1) == 2).nonzero()[0])
    overlap = (mine & mine[first]).sum(1)
    other = int(((overlap == 1) & (mine.sum(1) == 2)).nonzero()[0])
    same = [int(k) for k in (mine == mine[first]).all(dim=1).nonzero()[:, 0] if int(k) != first][0]
    return first, same, other


def draw_problem(config: Config, seed: int, attribute: int = 2) -> None:
    """Two garments of one set and a third that shares a class with them."""
    import matplotlib.pyplot as plt

    index = torch.tensor(pair_with_overlap(config, seed, attribute))
    garments = world(config, seed).sample(absolute("test", index))
    figure, axes = plt.subplots(1, 3, figsize=(6.6, 2.6))
    for axis, picture, held, says in zip(axes, garments.image, garments.held, ("query", "right", "wrong"), strict=True):
        axis.imshow(picture.permute(1, 2, 0).numpy())
        axis.set(xticks=[], yticks=[], title=says)
        axis.set_xlabel(words(held, attribute), fontsize=9)
        axis.grid(False)
    _show(figure)


@torch.no_grad()
def draw_attention(state: State, config: Config, seed: int, shared: Mapping[str, Tensor] | None, item: int = 0) -> None:
    """One test garment: where each attribute looks, and where three classes of the colour look."""
    import matplotlib.pyplot as plt

    items = items_of(config, "test", seed, torch.tensor([item]), shared, state.device)
    model = state.network.eval()
    x = model.features(items["image"])
    found = model.attribute_vectors(x)
    chosen = model.likely(found["logits"], 3)
    _, look = model.class_vectors(x, found["where"], chosen)
    names, side = attribute_names(config), round(x.shape[1] ** 0.5)
    size = config.image_size

    def over(axis: Any, weights: Tensor, title: str) -> None:
        map_ = F.interpolate(weights.reshape(1, 1, side, side), size=(size, size), mode="bilinear")[0, 0]
        axis.imshow(pictures(items["image"])[0].permute(1, 2, 0).cpu().numpy())
        axis.imshow((map_ / map_.max()).cpu().numpy(), cmap="magma", alpha=0.55)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=8)
        axis.grid(False)

    figure, rows = plt.subplots(len(names), 4, figsize=(6.4, 1.65 * len(names)))
    for a, name in enumerate(names):
        over(rows[a, 0], found["where"][0, a], name)
        for k in range(3):
            c = int(chosen[0, a, k])
            mark = "held" if items["held"][0, a, c] else "not held"
            chance = float(found["logits"][0, a, c].sigmoid())
            over(rows[a, k + 1], look[0, a, k], f"{list(ATTRIBUTES.values())[a][c]}: {chance:.2f}, {mark}")
    figure.tight_layout()
    _show(figure)


def draw_sizes(by_size: Mapping[str, Tensor | None]) -> None:
    """Mean average precision by the number of classes in the query's set."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.4, 2.8))
    for k, (name, values) in enumerate(by_size.items()):
        if values is None:
            axis.bar([0], [0], color=palette[k], label=f"{name} (run missing)")
        else:
            axis.bar(np.arange(len(values)) + 0.27 * (k - 1), values.numpy(), 0.25, color=palette[k], label=name)
    axis.set(xticks=range(3), xticklabels=["one class", "two", "three"], ylabel="mAP [%]")
    axis.margins(y=0.25)
    axis.legend(fontsize=8, ncols=3)
    _show(figure)


def draw_pruning(values: Mapping[str, Sequence[float]]) -> None:
    """Mean average precision with 1, 2, 3 and all class vectors; a line a seed."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(5.2, 2.8))
    for n, line in enumerate(zip(*values.values(), strict=True)):
        axis.plot(list(values), line, "o-", color=palette[0], alpha=0.5, label="a seed" if n == 0 else None)
    axis.set(xlabel="class vectors used", ylabel="mAP [%]")
    axis.legend(fontsize=8)
    _show(figure)


def draw_map(state: State, config: Config, seed: int, shared: Mapping[str, Tensor] | None, attribute: int = 2) -> None:
    """Attribute vectors, and the vectors of one class, of test items in two dimensions (t-SNE), marked by whether the class is held."""
    import matplotlib.pyplot as plt
    from sklearn.manifold import TSNE

    from vislab.viz import palette

    found = embedded(state, config, seed, "test", shared, max(config.classes))
    few = slice(0, 500)
    held = found["held"][few, attribute]
    c = int(held.sum(0).argmax())
    mine = (found["chosen"][few, attribute] == c).float()
    of_class = torch.einsum("nk,nke->ne", mine, found["class_vector"][few, attribute])
    place = [
        TSNE(init="pca", random_state=0, perplexity=min(30.0, (len(held) - 1) / 3)).fit_transform(v.numpy())
        for v in (found["vector"][few, attribute], of_class)
    ]
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.4))
    kinds = torch.where(held[:, c], held.sum(1), 0).numpy()
    for axis, points, title in zip(axes, place, ("attribute vectors", "vectors of one class"), strict=True):
        for kind, says in enumerate(("not held", "held alone", "held with another", "held with two")):
            mine = kinds == kind
            axis.scatter(*points[mine].T, s=9, color="#bbbbbb" if kind == 0 else palette[kind - 1], label=says)
        axis.set(xticks=[], yticks=[], title=title)
    axes[0].legend(fontsize=7, markerscale=1.5)
    figure.suptitle(
        f"{list(ATTRIBUTES.values())[attribute][c]} in {attribute_names(config)[attribute]}", y=1.02, fontsize=9
    )
    _show(figure)


def ranked_states(
    state: State,
    config: Config,
    seed: int,
    shared: Mapping[str, Tensor] | None,
    shares: Sequence[float],
    count: int = 6,
) -> dict[tuple[str, str], Any]:
    """For each attribute and share of the class vectors, a query with its nearest gallery items; green frames are right."""
    import matplotlib.pyplot as plt

    found = embedded(state, config, seed, "test", shared, config.top_k)
    queries = round(config.queries * len(found["held"]))
    query, gallery = ({n: v[part] for n, v in found.items()} for part in (slice(queries), slice(queries, None)))
    states = {}
    for a, name in enumerate(attribute_names(config)):
        q = int((query["held"][:, a].sum(1) == 2).int().argmax())
        one = {n: v[q : q + 1] for n, v in query.items()}
        for share in shares:
            best = similarity(config, one, gallery, a, config.top_k, share)[0].topk(count).indices
            index = torch.cat([torch.tensor([q]), queries + best])
            image = pictures(items_of(config, "test", seed, index, shared, state.device)["image"]).cpu()
            figure, axes = plt.subplots(1, count + 1, figsize=(7.4, 1.5))
            for k, (axis, item) in enumerate(zip(axes, index.tolist(), strict=True)):
                axis.imshow(image[k].permute(1, 2, 0).numpy())
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
                right = torch.equal(found["held"][item, a], query["held"][q, a])
                axis.set_title("query" if k == 0 else f"{k}", fontsize=8)
                axis.set_xlabel(words(found["held"][item], a).replace(" + ", "\n"), fontsize=6)
                for edge in axis.spines.values():
                    edge.set(
                        visible=True, linewidth=2.5, color="#333333" if k == 0 else "#2a9d55" if right else "#d1495b"
                    )
            states[name, f"{share:g}"] = figure
    return states


def ranked_alt(key: tuple[str, str]) -> str:
    """What a state of the sliders shows."""
    return f"A query and its six nearest garments in {key[0]}, with class vectors at a share of {key[1]}"


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
