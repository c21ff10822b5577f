"""The authors' CIFAR network, rule v1 weights, same outputs with both sets of classifiers."""

import pytest
import torch

from tests.parity.helper import Spec
from vislab.papers.recognition.shike.model import DepthExperts
from vislab.papers.recognition.shike.official import from_official


def test_outputs_of_the_authors_network():
    spec = Spec("shike")
    model = DepthExperts(32, 16, 100, 3, (1, 2), released=True).eval()
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]
    counters = {n: v for n, v in model.state_dict().items() if n.endswith("num_batches_tracked")}
    model.load_state_dict(from_official(spec.state()) | counters)
    for case in range(len(spec.json["cases"])):
        given = spec.inputs(case)
        with torch.no_grad():
            logits = model(given["x"], retrained=bool(given["crt"]))["logits"]
        spec.check(case, {f"logits_{k}": logits[:, k] for k in range(3)})


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"head\.weight"):
        from_official({"head.weight": torch.zeros(1)})
