"""The authors' ResNet-32 with their layer, rule v1 weights: same logits, and the same running statistics after a training pass."""

import pytest
import torch

from tests.parity.helper import Spec
from vislab.papers.recognition.tbbn.model import IncrementalResNet
from vislab.papers.recognition.tbbn.norms import TaskBalancedNorm, convert_bn, feasible_groups, set_task
from vislab.papers.recognition.tbbn.official import from_official

SPEC = Spec("tbbn")


@pytest.mark.parametrize("case", range(len(SPEC.json["cases"])))
def test_outputs_of_the_authors_network(case):
    facts = SPEC.json["cases"][case]
    model = convert_bn(IncrementalResNet(32, 16, 20), lambda channels: TaskBalancedNorm(channels, 48, 16))
    assert sum(p.numel() for p in model.parameters()) == SPEC.json["parameters"]
    counters = {name: torch.tensor(value) for name, value in SPEC.json["integer_state"].items()}
    model.load_state_dict(from_official(SPEC.state() | counters))
    assert feasible_groups(48, 16, facts["task"]) == facts["num_splits"]
    set_task(model.train(facts["train_mode"]), facts["task"])
    with torch.no_grad():
        logits = model(SPEC.inputs(case)["x"])["logits"]
    ours = model.state_dict()
    moved = [name for name in facts["outputs"] if name != "logits"]
    SPEC.check(case, {"logits": logits} | {name: ours[next(iter(from_official({name: 0})))] for name in moved})


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"head\.weight"):
        from_official({"head.weight": torch.zeros(1)})
