"""Context encoder, target encoder and predictor (section 3); a prototype head in place of the predictor for the view-based rival."""

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vislab.nn.vit import PatchEncoder, PatchPredictor
from vislab.papers.representation.ijepa.card import Config


class Prototypes(nn.Module):
    """Cosines of a projected mean feature with learnt directions, as in DINO."""

    def __init__(self, width: int, prototypes: int):
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.directions = nn.Linear(width, prototypes, bias=False)

    def forward(self, tokens: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch prototypes"]:
        pooled = F.normalize(self.project(tokens.mean(dim=1)), dim=-1)
        return pooled @ F.normalize(self.directions.weight, dim=-1).T


class JEPA(nn.Module):
    """`encoder` and `predictor` are trained; `target` (and `target_predictor` for views) follow them and get no gradient."""

    def __init__(self, encoder: PatchEncoder, predictor: nn.Module, follow_predictor: bool):
        super().__init__()
        self.encoder, self.predictor = encoder, predictor
        self.target = copy.deepcopy(encoder).requires_grad_(False)
        self.target_predictor = copy.deepcopy(predictor).requires_grad_(False) if follow_predictor else None

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """target <- momentum target + (1 - momentum) encoder."""
        pairs = [(self.target, self.encoder)]
        if self.target_predictor is not None:
            pairs.append((self.target_predictor, self.predictor))
        for slow, fast in pairs:
            for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                a.lerp_(b, 1 - momentum)


class MaskToken(nn.Module):
    """One learnt token for hidden patches, and a linear read-out, where prediction happens inside the encoder."""

    def __init__(self, width: int):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        nn.init.trunc_normal_(self.token, std=0.02)


def build(config: Config) -> JEPA:
    """The networks of the config's objective."""
    sizes = (config.image_size, config.patch, config.width, config.depth, config.heads)
    encoder = PatchEncoder(*sizes, config.mlp_ratio)
    if config.objective == "views":
        predictor: nn.Module = Prototypes(config.width, config.prototypes)
    elif config.objective == "inside":
        predictor = MaskToken(config.width)
    else:
        outputs = config.width if config.target == "features" else 3 * config.patch**2
        narrow = (config.predictor_width, config.predictor_depth, config.predictor_heads)
        predictor = PatchPredictor(config.width, outputs, config.image_size // config.patch, *narrow)
    return JEPA(encoder, predictor, config.objective == "views")


def counted(model: JEPA) -> int:
    """Trained parameters: context encoder and predictor."""
    return sum(p.numel() for part in (model.encoder, model.predictor) for p in part.parameters())
