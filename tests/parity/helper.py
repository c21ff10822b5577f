"""Facts from the authors' networks: regenerate their state and inputs by rule, compare outputs."""

import functools
import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"


@functools.cache
def _read(name: str) -> dict:
    return json.loads((DATA / f"{name}.json").read_text())


def fill(name: str, shape: list[int], gain: float = 1.0) -> Tensor:
    """Rule v1: reproducible values for a tensor from its name and shape."""
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if name.endswith("running_var"):
        value = 1 + 0.1 * np.abs(z)
    elif name.endswith(("running_mean", "bias")) or (len(shape) == 1 and last != "weight"):
        value = 0.1 * z
    elif len(shape) <= 1:
        value = 1 + 0.1 * z
    else:
        value = gain * z / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


class Spec:
    """One parity file: `name` is its stem."""

    def __init__(self, name: str):
        self.name = name
        self.json = _read(name)

    def state(self) -> dict[str, Tensor]:
        """The authors' state dictionary under rule v1; constant and integer tensors are left out."""
        skipped = set(self.json.get("constant_state", ())) | set(self.json.get("scalars", ()))
        if self.json.get("fill_overrides"):
            raise ValueError(f"{self.name} departs from rule v1: handle its fill_overrides in its own test")
        gain = self.json.get("gain", 1.0)
        return {n: fill(n, s, gain) for n, s in self.json["state"].items() if n not in skipped}

    def inputs(self, case: int) -> dict[str, Tensor]:
        """The inputs of one case, by rule or literal."""
        return {n: self._input(case, n, rule) for n, rule in self.json["cases"][case]["inputs"].items()}

    def _input(self, case: int, name: str, rule) -> Tensor:
        if "literal" in rule:
            return torch.as_tensor(rule["literal"])
        if rule["kind"] == "literal":
            return rule["value"]
        random = np.random.default_rng(zlib.crc32(f"{self.json['slug']}:{case}:{name}".encode()))
        shape, kind = rule["shape"], rule["kind"]
        if kind == "uniform01":
            return torch.from_numpy(random.random(shape).astype(np.float32))
        if kind == "normal":
            return torch.from_numpy(random.standard_normal(shape).astype(np.float32))
        if match := re.fullmatch(r"integers:(\d+)", kind):
            return torch.from_numpy(random.integers(0, int(match[1]), shape))
        raise ValueError(f"{self.name}: unknown kind of input {kind!r}")

    def check(self, case: int, outputs: dict[str, Tensor], only: tuple[str, ...] | None = None) -> None:
        """Compare shapes, samples, mean and standard deviation of every recorded output (or of `only`) within tolerance."""
        expected = self.json["cases"][case]["outputs"]
        tolerances = self.json.get("output_tolerance", {})
        for name, facts in expected.items():
            if only is not None and name not in only:
                continue
            value = outputs[name].detach().to(torch.float64)
            assert list(value.shape) == facts["shape"], f"{name}: shape {list(value.shape)}, recorded {facts['shape']}"
            tolerance = tolerances.get(name, self.json["tolerance"])
            places = torch.tensor([i for i, _ in facts["samples"]], dtype=torch.long)
            samples = torch.tensor([v for _, v in facts["samples"]], dtype=torch.float64)
            scale = max(1.0, float(samples.abs().max()))
            worst = float((value.flatten()[places] - samples).abs().max())
            assert worst <= tolerance * scale, f"{self.name} case {case}, {name}: off by {worst:.3g}"
            assert abs(float(value.mean()) - facts["mean"]) <= tolerance * scale, f"{name}: mean"
            spread = float(value.std(correction=0))
            assert abs(spread - facts["std"]) <= 10 * tolerance * scale + 0.02 * facts["std"], f"{name}: std"
