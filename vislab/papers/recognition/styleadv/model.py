"""The networks: a backbone in four stages whose styles can be exchanged, and a few-shot head on its features."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from vislab.nn.resnet_small import BasicBlock
from vislab.nn.vit import Block
from vislab.ops.styles import restyled
from vislab.papers.recognition.styleadv.card import Config

STAGES = 4
"""Stages of a backbone; the styles of all but the last are changed."""
Change = tuple[Tensor, ...]
"""What a stage's output is given: a new style (mean, standard deviation), each (image, channel), or an offset of the map's shape."""


class ResNet10(nn.Module):
    """ResNet-10: a stem, then one residual block a stage of width, 2, 4 and 8 times width channels; the first stage has the stem."""

    def __init__(self, width: int):
        super().__init__()
        self.features = 8 * width
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        widths = [width, *(width * 2**k for k in range(STAGES))]
        self.blocks = nn.ModuleList(
            BasicBlock(a, b, 1 if k == 0 else 2, "B") for k, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        )

    def stage(self, k: int, x: Tensor) -> Float[Tensor, "image channel h w"]:
        """Stage `k` on the output of the one before, the first on pictures."""
        return self.blocks[k](self.stem(x) if k == 0 else x)

    def map_of(self, x: Tensor) -> Float[Tensor, "image channel h w"]:
        """The feature map that has a style."""
        return x

    def with_map(self, x: Tensor, changed: Tensor) -> Tensor:
        """The stage's output with another map."""
        return changed

    def pooled(self, x: Tensor) -> Float[Tensor, "image feature"]:
        """The feature of a picture."""
        return x.mean(dim=(2, 3))


class ViT(nn.Module):
    """ViT whose blocks form four groups; its map is that of the patch tokens, the class token is the feature and has no style.

    `scrambled` reads the tokens as the released code does, which reshapes (token, channel) to (channel, token) instead of transposing.
    """

    def __init__(self, image_size: int, patch: int, width: int, depth: int, heads: int, scrambled: bool = False):
        super().__init__()
        if depth % STAGES:
            raise ValueError(f"{depth} blocks cannot form {STAGES} equal groups")
        self.features, self.group, self.scrambled = width, depth // STAGES, scrambled
        self.patch_embed = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        for value in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(value, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.weight.view(width, -1))

    def stage(self, k: int, x: Tensor) -> Float[Tensor, "image token channel"]:
        """Group `k` of blocks on the tokens before, the first on pictures."""
        if k == 0:
            patches = rearrange(self.patch_embed(x), "b c h w -> b (h w) c")
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.pos_embed
        for block in self.blocks[k * self.group : (k + 1) * self.group]:
            x = block(x)
        return x

    def map_of(self, x: Tensor) -> Float[Tensor, "image channel token"]:
        """The patch tokens, channels first."""
        patches = x[:, 1:]
        if self.scrambled:
            return patches.reshape(len(x), x.shape[2], -1)
        return rearrange(patches, "b t c -> b c t")

    def with_map(self, x: Tensor, changed: Tensor) -> Tensor:
        """The tokens with other patches and the same class token."""
        patches = changed.reshape(len(x), -1, x.shape[2]) if self.scrambled else rearrange(changed, "b c t -> b t c")
        return torch.cat([x[:, :1], patches], dim=1)

    def pooled(self, x: Tensor) -> Float[Tensor, "image feature"]:
        """The class token."""
        return self.norm(x)[:, 0]


class EpisodeNorm(nn.Module):
    """Batch norm without running statistics: over all nodes (or edges) of one episode, in training and in evaluation."""

    def __init__(self, features: int, eps: float = 1e-5):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features)), eps

    def forward(self, x: Float[Tensor, "episode *nodes feature"]) -> Float[Tensor, "episode *nodes feature"]:
        flat = x.flatten(1, -2)
        # torch.var_mean over a middle dimension is many times slower on a CPU
        flat = flat - flat.mean(dim=1, keepdim=True)
        scale = self.weight * torch.rsqrt(flat.square().mean(dim=1, keepdim=True) + self.eps)
        return torch.addcmul(self.bias, flat, scale).reshape(x.shape)


class Edges(nn.Module):
    """How much a node listens to every other one: a softmax over an MLP on absolute differences; to itself never."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        widths = [inputs, 2 * width, 2 * width, width, width]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.norms = nn.ModuleList(EpisodeNorm(b) for b in widths[1:])
        self.last = nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "episode graph node feature"]) -> Float[Tensor, "episode graph node node"]:
        edge = (x[:, :, :, None] - x[:, :, None]).abs()
        for linear, norm in zip(self.linears, self.norms, strict=True):
            edge = F.leaky_relu(norm(linear(edge)))
        itself = torch.eye(x.shape[2], dtype=torch.bool, device=x.device)
        return self.last(edge)[..., 0].masked_fill(itself, -torch.inf).softmax(dim=-1)


class GraphLayer(nn.Module):
    """A node's own feature beside the mean of the others' by edge weight, through a linear layer and, unless last, a norm."""

    def __init__(self, inputs: int, outputs: int, norm: bool = True):
        super().__init__()
        self.linear = nn.Linear(2 * inputs, outputs)
        self.norm = EpisodeNorm(outputs) if norm else nn.Identity()

    def forward(self, edges: Tensor, x: Tensor) -> Float[Tensor, "episode graph node output"]:
        return self.norm(self.linear(torch.cat([x, edges @ x], dim=-1)))


class GraphHead(nn.Module):
    """The graph network of Garcia and Bruna (2018): a graph of the support and of one query a class, whose labels are sought."""

    def __init__(self, inputs: int, features: int, width: int, way: int, layers: int = 2):
        super().__init__()
        self.project, self.norm = nn.Linear(inputs, features), EpisodeNorm(features)
        sizes = [features + way + k * (width // 2) for k in range(layers + 1)]
        self.edges = nn.ModuleList(Edges(size, width) for size in sizes)
        self.layers = nn.ModuleList(GraphLayer(size, width // 2) for size in sizes[:-1])
        self.last = GraphLayer(sizes[-1], way, norm=False)

    def forward(
        self, feat: Float[Tensor, "episode way item feature"], shots: int
    ) -> Float[Tensor, "episode way query way"]:
        way, queries = feat.shape[1], feat.shape[2] - shots
        node = self.norm(self.project(feat))
        support = repeat(node[:, :, :shots], "e w s f -> e q w s f", q=queries)
        query = rearrange(node[:, :, shots:], "e w q f -> e q w 1 f")
        label = torch.eye(way, device=feat.device)[:, None].expand(-1, shots, -1)
        label = torch.cat([label, torch.zeros(way, 1, way, device=feat.device)], dim=1)
        x = torch.cat([torch.cat([support, query], dim=3), label.expand(*query.shape[:2], -1, -1, -1)], dim=-1)
        x = rearrange(x, "e q w n f -> e q (w n) f")
        for edges, layer in zip(self.edges, self.layers, strict=False):
            x = torch.cat([x, F.leaky_relu(layer(edges(x), x))], dim=-1)
        scores = self.last(self.edges[-1](x), x)
        return rearrange(scores, "e q (w n) c -> e w q n c", w=way)[:, :, :, -1]


class CosineHead(nn.Module):
    """Prototypes (Snell et al. 2017): scale times the cosine between a query and the mean of a class's support, plus a bias."""

    def __init__(self, scale: float = 10.0):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.tensor([scale])), nn.Parameter(torch.zeros(1))

    def forward(
        self, feat: Float[Tensor, "episode way item feature"], shots: int
    ) -> Float[Tensor, "episode way query way"]:
        prototype = F.normalize(feat[:, :, :shots].mean(dim=2), dim=-1)
        query = F.normalize(feat[:, :, shots:], dim=-1)
        return self.scale * (torch.einsum("ewqf,ecf->ewqc", query, prototype) + self.bias)


class FewShotNetwork(nn.Module):
    """Backbone, few-shot head, and a classifier of all base classes.

    `forward` takes episodes (episode, way, support then queries, 3, h, w) and gives {"scores": (episode, way, query, way),
    "feat": (image, feature), "class_logits": (image, base class)}.
    """

    def __init__(self, backbone: ResNet10 | ViT, classifier: nn.Linear, head: GraphHead | CosineHead, shots: int):
        super().__init__()
        self.backbone, self.classifier, self.head, self.shots = backbone, classifier, head, shots

    def embed(
        self, images: Float[Tensor, "image 3 h w"], changes: Mapping[int, Change] | None = None
    ) -> Float[Tensor, "image feature"]:
        """Features of pictures, the outputs of some stages changed."""
        x = images
        for k in range(STAGES):
            x = self.backbone.stage(k, x)
            if changes and k in changes:
                x = changed(self.backbone, x, changes[k])
        return self.backbone.pooled(x)

    def forward(
        self,
        images: Float[Tensor, "episode way item 3 h w"],
        changes: Mapping[int, Change] | None = None,
        shots: int | None = None,
    ) -> dict[str, Tensor]:
        feat = self.embed(images.flatten(0, 2), changes)
        scores = self.head(feat.reshape(*images.shape[:3], -1), self.shots if shots is None else shots)
        return {"scores": scores, "feat": feat, "class_logits": self.classifier(feat)}


def changed(backbone: ResNet10 | ViT, x: Tensor, change: Change) -> Tensor:
    """A stage's output in a new style, or with an offset on its map."""
    kept = backbone.map_of(x)
    return backbone.with_map(x, kept + change[0] if len(change) == 1 else restyled(kept, *change))


def build(config: Config) -> FewShotNetwork:
    """The untrained network at the config's sizes."""
    if config.backbone == "resnet":
        backbone: ResNet10 | ViT = ResNet10(config.width)
    else:
        scrambled = config.follow == "code"
        backbone = ViT(config.image_size, config.patch, config.vit_width, config.depth, config.heads, scrambled)
    # before the head, so that the warm start does not depend on it
    classifier = nn.Linear(backbone.features, config.base_classes)
    if config.head == "graph":
        head: GraphHead | CosineHead = GraphHead(
            backbone.features, config.node_features, config.graph_width, config.way
        )
    else:
        head = CosineHead()
    return FewShotNetwork(backbone, classifier, head, config.shots)
