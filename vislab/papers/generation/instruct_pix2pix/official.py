"""The authors' checkpoints (timothybrooks/instruct-pix2pix): names of their U-Net and autoencoder to ours."""

import re
from collections.abc import Mapping

from torch import Tensor

_BLOCK = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "skip",
    "transformer_blocks.0.ff.net.0.proj": "gate", "transformer_blocks.0.ff.net.2": "shrink", "op": "conv",
}  # fmt: skip
_ATTENTION = {"attn1": "self_attention", "attn2": "cross_attention"}
_PROJECTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "out"}
_WAYS = {"input_blocks": "down", "middle_block": "middle", "output_blocks": "up"}
_CELL = {"q": "query", "k": "key", "v": "value", "proj_out": "out", "norm": "norm"}


def unet_name(official: str) -> str:
    """A tensor of `UNetModel` under our name; KeyError for one that is not its."""
    if official.startswith("time_embed."):
        return official.replace("time_embed", "time", 1)
    ends = {"out.0": "norm", "out.2": "last"}
    for theirs, ours in ends.items():
        if official.startswith(theirs + "."):
            return official.replace(theirs, ours, 1)
    found = re.fullmatch(r"(input_blocks|output_blocks)\.(\d+\.\d+)\.(.+)|(middle_block)\.(\d+)\.(.+)", official)
    if not found:
        raise KeyError(f"{official} is no tensor of the authors' U-Net")
    way, place, rest = (found[1], found[2], found[3]) if found[1] else (found[4], found[5], found[6])
    return f"{_WAYS[way]}.{place}.{_inside(rest)}"


def _inside(rest: str) -> str:
    body, _, last = rest.rpartition(".")
    if found := re.fullmatch(r"transformer_blocks\.0\.(attn[12])\.(to_[qkv]|to_out\.0)", body):
        return f"{_ATTENTION[found[1]]}.{_PROJECTION[found[2]]}.{last}"
    if body.startswith("transformer_blocks.0.norm"):
        return f"{body.removeprefix('transformer_blocks.0.')}.{last}"
    if not body:
        return last  # the first convolution itself
    return f"{_BLOCK.get(body, body)}.{last}"


def autoencoder_name(official: str, multiples: int = 4, blocks: int = 2) -> str:
    """A tensor of `AutoencoderKL` under our name; KeyError for one that is not its."""
    simple = {"quant_conv": "to_moments", "post_quant_conv": "from_latent"}
    head, _, rest = official.partition(".")
    if head in simple:
        return f"{simple[head]}.{rest}"
    if head not in ("encoder", "decoder"):
        raise KeyError(f"{official} is no tensor of the authors' autoencoder")
    down, each = head == "encoder", blocks + (head == "decoder")
    # ours are one sequence: down and middle in the encoder, middle and up (from the lowest level) in the decoder
    levels = 1 + multiples * each + multiples - 1 if down else 4 + multiples * each + multiples - 1
    middle = levels if down else 1
    end = levels + 3 if down else levels
    if rest.startswith("conv_in."):
        return f"{head}.0.{rest.removeprefix('conv_in.')}"
    if rest.startswith(("norm_out.", "conv_out.")):
        part, _, last = rest.partition(".")
        return f"{head}.{end + (0 if part == 'norm_out' else 2)}.{last}"
    if found := re.fullmatch(r"mid\.(block_1|attn_1|block_2)\.(.+)", rest):
        place = middle + ("block_1", "attn_1", "block_2").index(found[1])
        part, _, last = found[2].rpartition(".")
        return f"{head}.{place}.{_CELL.get(part, part) if found[1] == 'attn_1' else _skip(part)}.{last}"
    found = re.fullmatch(r"(?:down|up)\.(\d+)\.(block\.(\d+)|downsample|upsample)\.(.+)", rest)
    if not found:
        raise KeyError(f"{official} is no tensor of the authors' autoencoder")
    level = int(found[1]) if down else multiples - 1 - int(found[1])
    start = (1 if down else 4) + level * (each + 1)
    place = start + (int(found[3]) if found[3] is not None else each)
    part, _, last = found[4].rpartition(".")
    return f"{head}.{place}.{_skip(part)}.{last}"


def _skip(part: str) -> str:
    return "skip" if part == "nin_shortcut" else part


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released checkpoint under the names of `Editor`: U-Net, autoencoder, text encoder.

    Plain states of the U-Net alone or of the autoencoder alone are taken as well.
    Raises KeyError for a tensor that is in none of them; schedules, position indices and moving averages are left out.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("model.diffusion_model."):
            found["unet." + unet_name(name.removeprefix("model.diffusion_model."))] = value
        elif name.startswith("first_stage_model."):
            found["autoencoder." + autoencoder_name(name.removeprefix("first_stage_model."))] = value
        elif name.startswith("cond_stage_model.transformer.text_model."):
            found |= {"text." + key: part for key, part in _text(name, value).items()}
        elif name.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):
            found["autoencoder." + autoencoder_name(name)] = value
        elif name.startswith(("model_ema.", "loss.")) or "." not in name:
            continue
        else:
            found["unet." + unet_name(name)] = value
    return _joined(found)


def _text(name: str, value: Tensor) -> dict[str, Tensor]:
    """One tensor of the text encoder as the transformers library names it."""
    inside = name.removeprefix("cond_stage_model.transformer.text_model.")
    if inside.endswith("position_ids"):
        return {}
    for theirs, ours in (
        ("embeddings.token_embedding.weight", "token_embedding.weight"),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("final_layer_norm.", "ln_final."),
        ("encoder.layers.", "transformer.resblocks."),
        (".layer_norm1.", ".ln_1."), (".layer_norm2.", ".ln_2."),
        (".mlp.fc1.", ".mlp.c_fc."), (".mlp.fc2.", ".mlp.c_proj."),
        (".self_attn.out_proj.", ".attn.out_proj."), (".self_attn.", ".attn."),
    ):  # fmt: skip
        inside = inside.replace(theirs, ours)
    return {inside: value}


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value projections of the text encoder joined to one, as our attention holds them."""
    import torch

    found = {name: value for name, value in state.items() if not re.search(r"\.attn\.[qkv]_proj\.", name)}
    for name in state:
        if match := re.fullmatch(r"(.+\.attn)\.q_proj\.(weight|bias)", name):
            parts = [state[f"{match[1]}.{k}_proj.{match[2]}"] for k in "qkv"]
            found[f"{match[1]}.in_proj_{match[2]}"] = torch.cat(parts)
    return found
