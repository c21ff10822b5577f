"""The authors' ResNet-10 with their graph head, rule v1 weights: same scores, features, class logits, and the same attacked styles."""

import dataclasses

import pytest
import torch

from tests.parity.helper import Spec
from vislab.papers.recognition.styleadv.attack import new_styles
from vislab.papers.recognition.styleadv.card import PROFILES
from vislab.papers.recognition.styleadv.model import build
from vislab.papers.recognition.styleadv.official import from_official

SPEC = Spec("styleadv")
CONFIG = dataclasses.replace(PROFILES["paper"], shots=1, queries=2, follow="code")


@pytest.mark.parametrize("case", range(len(SPEC.json["cases"])))
def test_outputs_of_the_authors_network(case):
    facts = SPEC.json["cases"][case]
    model = build(CONFIG).eval()
    assert sum(p.numel() for p in model.parameters()) == SPEC.json["parameters"]
    assert sum(p.numel() for p in model.backbone.parameters()) == SPEC.json["backbone_parameters"]
    counters = {name: torch.tensor(value) for name, value in SPEC.json["integer_state"].items()}
    model.load_state_dict(from_official(SPEC.state() | counters))
    image = SPEC.inputs(case)["x"][None]
    with torch.no_grad():
        found = model(image)
    outputs = {"scores": found["scores"].flatten(0, 2), "feature": found["feat"], "class_logits": found["class_logits"]}
    if "labels" in facts:
        label = torch.tensor(facts["labels"])[None, :, 0]
        config = dataclasses.replace(CONFIG, strengths=tuple(facts["epsilon_list"]))
        for k, pair in new_styles(model, image, label, config).items():
            for name, value in zip(("mean", "std"), pair, strict=True):
                outputs[f"adv_{name}{k + 1}"] = value[..., None, None]
    assert outputs.keys() == facts["outputs"].keys()
    SPEC.check(case, outputs)


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"head\.weight"):
        from_official({"head.weight": torch.zeros(1)})
