"""The duet: a backbone, an attribute sub-network and a class sub-network, both made of attention under a condition."""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.nn.resnet_small import basic_stage
from vislab.papers.recognition.fashion_duet.card import Config


def backbone(config: Config) -> tuple[nn.Module, int]:
    """(network, channels): a ResNet-50 up to its fourth block of layers, or a small ResNet of three stages at an eighth of the size."""
    if config.network == "resnet50":
        from torchvision.models import ResNet50_Weights, resnet50

        full = resnet50(weights=ResNet50_Weights.IMAGENET1K_V2 if config.pretrained else None)
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        return nn.Sequential(*(getattr(full, name) for name in names)), 1024
    width = config.width
    stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    stages = (
        basic_stage(width, width, 1, 1),
        basic_stage(width, 2 * width, 1, 2),
        basic_stage(2 * width, 4 * width, 1, 2),
    )
    return nn.Sequential(stem, *stages), 4 * width


class SpatialAttention(nn.Module):
    """Where to look, given a condition: softmax over positions of <tanh(W_v x), tanh(W_c c)> / sqrt(d)."""

    def __init__(self, channels: int, condition: int, width: int):
        super().__init__()
        self.seen = nn.Linear(channels, width)
        self.given = nn.Linear(condition, width)

    def forward(
        self, x: Float[Tensor, "batch position channel"], condition: Float[Tensor, "batch given condition"]
    ) -> Float[Tensor, "batch given position"]:
        seen, given = self.seen(x).tanh(), self.given(condition).tanh()
        return (given @ seen.mT / math.sqrt(seen.shape[-1])).softmax(dim=-1)


class ChannelAttention(nn.Module):
    """Which channels count, given a condition: sigmoid(W_2 ReLU(W_1 [x; c]))."""

    def __init__(self, channels: int, condition: int, reduction: int):
        super().__init__()
        hidden = max(4, channels // reduction)
        self.gate = nn.Sequential(nn.Linear(channels + condition, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(
        self, x: Float[Tensor, "batch given channel"], condition: Float[Tensor, "batch given condition"]
    ) -> Float[Tensor, "batch given channel"]:
        return x * self.gate(torch.cat([x, condition], dim=-1)).sigmoid()


class Branch(nn.Module):
    """Attention over positions and over channels under a condition, then a linear map to an embedding of unit length.

    With `hidden` the linear map becomes two with that many units between them.
    """

    def __init__(self, config: Config, channels: int, spatial: bool, channel: bool, hidden: int = 0):
        super().__init__()
        condition = config.condition
        self.spatial = SpatialAttention(channels, condition, config.attention) if spatial else None
        self.channel = ChannelAttention(channels, condition, config.reduction) if channel else None
        self.out = nn.Linear(channels, config.embedding)
        if hidden:
            self.out = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, config.embedding))

    def forward(
        self, x: Float[Tensor, "batch position channel"], condition: Float[Tensor, "batch given condition"]
    ) -> tuple[Float[Tensor, "batch given embedding"], Float[Tensor, "batch given position"]]:
        """(embeddings, spatial attention)."""
        if self.spatial is None:
            where = x.new_full((*condition.shape[:2], x.shape[1]), 1 / x.shape[1])
        else:
            where = self.spatial(x, condition)
        pooled = where @ x
        if self.channel is not None:
            pooled = self.channel(pooled, condition)
        return F.normalize(self.out(pooled), dim=-1), where


def hidden_units(config: Config, channels: int) -> int:
    """Units between two linear maps that cost as much as the class sub-network, when `config.matched` asks for them."""
    if not config.matched:
        return 0
    most = len(config.classes) * max(config.classes)
    class_branch = Branch(config, channels, config.class_spatial, config.class_channel)
    wanted = sum(p.numel() for p in class_branch.parameters()) + most * (config.condition + config.embedding + 1)
    linear = (channels + 1) * config.embedding
    return max(1, round((wanted + linear - config.embedding) / (channels + 1 + config.embedding)))


class Duet(nn.Module):
    """Attribute-specific vectors, likely classes, and class-specific vectors (section 1; sizes are a reconstruction)."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.backbone, channels = backbone(config)
        attributes, most = len(config.classes), max(config.classes)
        attends = config.attends == "condition"
        self.attributes = nn.Embedding(attributes, config.condition)
        self.attribute_branch = Branch(config, channels, attends, attends, hidden_units(config, channels))
        if config.attends == "mask":
            self.masks = nn.Embedding(attributes, config.embedding)
        self.labels = nn.Linear(config.embedding, attributes * most)
        if config.two_scales:
            self.local_branch = Branch(config, channels, attends, attends)
        if config.duet:
            self.classes = nn.Embedding(attributes * most, config.condition)
            self.class_branch = Branch(config, channels, config.class_spatial, config.class_channel)
            self.class_scores = nn.Embedding(attributes * most, config.embedding + 1)
            nn.init.normal_(self.class_scores.weight, std=config.embedding**-0.5)
        exists = torch.arange(most) < torch.tensor(config.classes)[:, None]
        self.register_buffer("exists", exists, persistent=False)

    def features(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch position channel"]:
        """The backbone's map, positions in rows."""
        return rearrange(self.backbone(image), "b c h w -> b (h w) c")

    def attribute_vectors(self, x: Float[Tensor, "batch position channel"]) -> dict[str, Tensor]:
        """{"vector": (batch, attribute, embedding), "where": (batch, attribute, position), "logits": (batch, attribute, class)}.

        Logits of classes that an attribute does not have are -inf.
        """
        condition = self.attributes.weight.expand(len(x), -1, -1)
        vector, where = self.attribute_branch(x, condition)
        if self.config.attends == "mask":
            vector = F.normalize(vector * self.masks.weight.relu(), dim=-1)
        attributes, most = self.exists.shape
        weight, bias = self.labels.weight.view(attributes, most, -1), self.labels.bias.view(attributes, most)
        # a vector of unit length needs a scale before a sigmoid
        logits = self.config.label_scale * torch.einsum("bae,ame->bam", vector, weight) + bias
        return {"vector": vector, "where": where, "logits": logits.masked_fill(~self.exists, -torch.inf)}

    def class_vectors(
        self,
        x: Float[Tensor, "batch position channel"],
        where: Float[Tensor, "batch attribute position"],
        chosen: Int[Tensor, "batch attribute likely"],
    ) -> tuple[Float[Tensor, "batch attribute likely embedding"], Float[Tensor, "batch attribute likely position"]]:
        """(vectors, attention) of the chosen classes, from the map as the attribute attends to it, at its old scale."""
        batch, attributes, likely = chosen.shape
        attended = rearrange(x[:, None] * where[..., None] * x.shape[1], "b a n c -> (b a) n c")
        number = chosen + self.exists.shape[1] * torch.arange(attributes, device=x.device)[:, None]
        vector, look = self.class_branch(attended, rearrange(self.classes(number), "b a k e -> (b a) k e"))
        return vector.view(batch, attributes, likely, -1), look.view(batch, attributes, likely, -1)

    def class_logits(
        self, vector: Float[Tensor, "batch attribute class embedding"]
    ) -> Float[Tensor, "batch attribute class"]:
        """Whether each class is there, from its own vector; `vector` holds all classes in order."""
        attributes, most = self.exists.shape
        weight = self.class_scores.weight.view(attributes, most, -1)
        return self.config.label_scale * (vector * weight[..., :-1]).sum(-1) + weight[..., -1]

    def likely(
        self, logits: Float[Tensor, "batch attribute class"], count: int
    ) -> Int[Tensor, "batch attribute likely"]:
        """The `count` likeliest classes of each attribute, by the network's own prediction."""
        return logits.topk(min(count, logits.shape[-1]), dim=-1).indices

    def second_look(self, image: Float[Tensor, "batch 3 h w"], found: dict[str, Tensor]) -> Tensor:
        """ASEN++: half-size crops around where each attribute looks, through the same backbone; vectors of both scales in one."""
        size, parts = image.shape[-1], []
        side = math.isqrt(found["where"].shape[-1])
        place = (torch.arange(side, device=image.device) + 0.5) * 2 / side - 1
        maps = found["where"].view(*found["where"].shape[:2], side, side)
        centre = torch.stack([(maps.sum(2) * place).sum(-1), (maps.sum(3) * place).sum(-1)], dim=-1).clamp(-0.5, 0.5)
        for a in range(centre.shape[1]):
            affine = torch.zeros(len(image), 2, 3, device=image.device)
            affine[:, 0, 0] = affine[:, 1, 1] = 0.5
            affine[:, :, 2] = centre[:, a]
            crop = F.grid_sample(
                image, F.affine_grid(affine, [len(image), 3, size, size], align_corners=False), align_corners=False
            )
            condition = self.attributes.weight[a].expand(len(image), 1, -1)
            parts.append(self.local_branch(self.features(crop), condition)[0])
        return F.normalize(found["vector"] + torch.cat(parts, dim=1), dim=-1)

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> dict[str, Tensor]:
        """All that training needs: attribute vectors and logits, and with the duet all class vectors and their logits."""
        x = self.features(image)
        found = self.attribute_vectors(x)
        if self.config.two_scales:
            found["vector"] = self.second_look(image, found)
        if self.config.duet:
            every = torch.arange(self.exists.shape[1], device=x.device).expand(*found["logits"].shape)
            found["class_vector"], found["class_where"] = self.class_vectors(x, found["where"], every)
            found["class_logits"] = self.class_logits(found["class_vector"])
        return found


def build(config: Config) -> Duet:
    """The paper's network, or with `duet=False` its attribute sub-network alone."""
    return Duet(config)
