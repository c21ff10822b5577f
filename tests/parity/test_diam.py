"""The authors' PSPNet and their inference: rule v1 weights and inputs, same features, logits, prototypes, classifiers."""

import dataclasses

import pytest
import torch

from tests.parity.helper import Spec
from vislab.papers.segmentation.diam import adapt
from vislab.papers.segmentation.diam.card import PROFILES
from vislab.papers.segmentation.diam.model import build
from vislab.papers.segmentation.diam.official import from_official


def test_outputs_of_the_authors_network():
    spec = Spec("diam")
    with torch.device("meta"):
        model = build(PROFILES["paper"])
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]
    state = from_official({f"module.{n}": v for n, v in spec.state().items()})
    counters = {n: torch.tensor(0) for n in model.state_dict() if n.endswith("num_batches_tracked")}
    model.load_state_dict(state | counters, assign=True)
    model.eval()
    for case in range(len(spec.json["cases"])):
        image = spec.inputs(case)["x"]
        with torch.no_grad():
            features = model.features(image)
            spec.check(case, {"features": features, "logits": model.classify(features, image.shape[-2:])})


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"fc\.weight"):
        from_official({"fc.weight": torch.zeros(1)})


@pytest.mark.parametrize("case", range(len(Spec("diam.classifier").json["cases"])))
def test_inference_of_the_authors_classifier(case):
    spec = Spec("diam.classifier")
    given = spec.inputs(case)
    base, novel = 16, 5
    config = dataclasses.replace(
        PROFILES["paper"], adapt_steps=given["adapt_iter"], refresh_at=given["pi_update_at"][0]
    )
    class_of = (base + torch.arange(novel))[:, None, None, None]
    drawn = given["gt_s"]
    label = torch.where(drawn == 0, 0, torch.where(drawn == 3, 255, class_of)).flatten(0, 1)
    size = given["features_s"].shape[-2:]
    features = given["features_s"].flatten(0, 1).transpose(0, 1).flatten(1)
    support = adapt.Support(features, adapt.shrunk(label, size).flatten(), drawn.shape[1])
    query = given["features_q"][:, 0].flatten(2)
    ignored = adapt.shrunk(torch.where(given["valid_pixels_q"][:, 0] > 0, 0, 255), size)

    weight, bias = given["base_weight"][0, 0].T, given["base_bias"]
    start = adapt.extended(weight, bias, adapt.prototypes(support, base, novel), len(query))
    pis = []
    found = adapt.adapt(config, start, support, query, ignored, lambda step, now, pi: pis.append(pi))

    def maps(value):
        return value.unflatten(-1, size)[:, None]

    spec.check(
        case,
        {
            "prototypes": start.weight[:, base:].mT,
            "pi_before": pis[0],
            "logits_before": maps(start.logits(query)),
            "pi_after": pis[-1],
            "novel_weight_after": found.weight[:, base:].mT,
            "base_weight_after": found.weight[:, :base].mT,
            "novel_bias_after": found.bias[:, base:],
            "base_bias_after": found.bias[:, :base],
            "probas_after": maps(found.probability(query)),
        },
    )
