"""The authors' U-Net with rule v1 weights, and four rounds of their server with six clients."""

import pytest
import torch

from tests.parity.helper import Spec
from vislab.engine.federated import average, without
from vislab.papers.recognition.fedce.card import PROFILES
from vislab.papers.recognition.fedce.fairness import contributions, other_directions
from vislab.papers.recognition.fedce.model import build
from vislab.papers.recognition.fedce.official import from_official

TENSORS = ("a.weight", "a.bias", "bn.weight", "bn.running_mean")
AGGREGATION = Spec("fedce.aggregation")


def test_outputs_of_the_authors_network():
    spec = Spec("fedce")
    model = build(PROFILES["paper"]).eval()
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]
    counters = {name: torch.tensor(0) for name in spec.json["integer_state"]}
    model.load_state_dict(from_official(spec.state() | counters))
    for case in range(len(spec.json["cases"])):
        with torch.no_grad():
            spec.check(case, {"logits": model(spec.inputs(case)["image"])})


@pytest.mark.parametrize("case", range(len(AGGREGATION.json["cases"])))
def test_rounds_of_the_authors_server(case):
    given, facts = AGGREGATION.inputs(case), AGGREGATION.json["cases"][case]
    clients, rounds = (AGGREGATION.json["config"][n] for n in ("clients", "rounds"))
    names = facts["trainable"] or TENSORS
    weights = torch.full((clients,), 1 / clients, dtype=torch.float64)
    cosine, score = torch.zeros(2, clients, dtype=torch.float64)
    found = {"weights_by_round": [], "cosine_running_mean": [], "minus_scores": []}
    for r in range(rounds):
        draws = {n: given[f"r{r}.{n}"] for n in TENSORS}
        changes = [{n: 0.1 * (d[0] + (0.3 + 0.4 * k) * d[k]) for n, d in draws.items()} for k in range(clients)]
        cosine += (other_directions(changes, weights, names) - cosine) / (r + 1)
        score += given["minus_dice"][r] if r else 0
        weights = contributions(cosine, 1 - score / (r + 1), facts["mode"])
        for name, value in zip(found, (weights, cosine, 1 - score / (r + 1)), strict=True):
            found[name].append(value.clone())
    merged = average(changes, weights.tolist())
    state, previous = ({n: given[f"r{r}.{n}"][row] for n in TENSORS} for r, row in ((0, 1), (1, 2)))
    minus = without(state, previous, float(weights[2]))
    AGGREGATION.check(
        case,
        {n: torch.stack(v) for n, v in found.items()}
        | {f"last_aggregate.{n}": merged[n] for n in TENSORS}
        | {f"minus_model.{n}": minus[n] for n in ("a.weight", "bn.running_mean")}
        | {"last_metric": ((0.5 + 0.05 * torch.arange(clients)) * weights).sum()[None]},
    )


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"head\.weight"):
        from_official({"head.weight": torch.zeros(1)})
