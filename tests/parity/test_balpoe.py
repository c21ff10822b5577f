"""The authors' CIFAR and ImageNet networks with three experts, rule v1 weights, same outputs."""

import pytest
import torch

from tests.parity.helper import Spec
from vislab.nn.resnet_small import large_resnet, small_resnet
from vislab.papers.recognition.balpoe.official import from_official


@pytest.mark.parametrize(
    ("name", "build"),
    [("balpoe", lambda: small_resnet(32, 16, 100, 3)), ("balpoe.resnet50", lambda: large_resnet(1000, 3))],
)
def test_outputs_of_the_authors_network(name, build):
    spec = Spec(name)
    model = build().eval()
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]
    state = from_official({f"module.backbone.{n}": v for n, v in spec.state().items()})
    ours = model.state_dict()
    counters = {n: v for n, v in ours.items() if n.endswith("num_batches_tracked")}
    model.load_state_dict(state | counters)
    for case in range(len(spec.json["cases"])):
        with torch.no_grad():
            spec.check(case, model(spec.inputs(case)["x"]))


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"head\.weight"):
        from_official({"head.weight": torch.zeros(1)})
