"""The text-conditioned U-Net, widened inputs, shared attention maps, and the autoencoder of latents."""

import torch

from vislab.nn.autoencoder import Autoencoder, drawn, gaussian_divergence
from vislab.nn.diffusion_unet import DiffusionUNet, shared_attention, widened
from vislab.ops import counter


def normal(draw, *shape):
    return counter.normal(0, "noise", torch.arange(shape[0]), draw, shape[1:])


def network(inputs=4):
    with counter.scope(0, "init"):
        return DiffusionUNet(inputs, 4, 16, (1, 2), 1, (True, True), 4, 12, 4).eval()


@torch.no_grad()
def test_added_channels_change_nothing_at_the_start():
    base, wide = network(4), network(8)
    wide.load_state_dict(widened(base.state_dict(), 8))
    x, time, text = normal("x", 2, 4, 8, 8), torch.tensor([3, 700]), normal("text", 2, 5, 12)
    extra = torch.cat([x, normal("more", 2, 4, 8, 8)], dim=1)
    assert torch.allclose(wide(extra, time, text), base(x, time, text), atol=1e-5)


@torch.no_grad()
def test_time_and_text_are_heard():
    unet = network()
    x, text = normal("x", 2, 4, 8, 8), normal("text", 2, 5, 12)
    one = unet(x, torch.tensor([10, 10]), text)
    assert not torch.allclose(one, unet(x, torch.tensor([900, 900]), text), atol=1e-4)
    assert not torch.allclose(one, unet(x, torch.tensor([10, 10]), text.flip(0)), atol=1e-4)


@torch.no_grad()
def test_shared_attention_takes_the_maps_of_the_source():
    unet = network()
    x, time, text = normal("x", 2, 4, 8, 8), torch.tensor([500, 500]), normal("text", 2, 5, 12)
    plain = unet(x, time, text)
    with shared_attention(unet, torch.tensor([0, 1])):
        assert torch.allclose(unet(x, time, text), plain, atol=1e-5)
    with shared_attention(unet, torch.tensor([0, 0])):
        shared = unet(x, time, text)
    assert torch.allclose(shared[0], plain[0], atol=1e-5) and not torch.allclose(shared[1], plain[1], atol=1e-5)
    assert torch.allclose(unet(x, time, text), plain, atol=1e-6)


@torch.no_grad()
def test_shared_words_lie_where_their_source_lies():
    unet = network()
    x, time, text = normal("x", 2, 4, 8, 8), torch.tensor([500, 500]), normal("text", 2, 5, 12)
    plain, straight = unet(x, time, text), torch.arange(5).expand(2, -1)
    with shared_attention(unet, torch.tensor([0, 1]), straight):
        assert torch.allclose(unet(x, time, text), plain, atol=1e-5)
    with shared_attention(unet, torch.tensor([0, 1]), straight.flip(1)):
        assert not torch.allclose(unet(x, time, text), plain, atol=1e-4)
    same, order = x[:1].expand(2, -1, -1, -1), torch.tensor([3, 0, 4, 1, 2])
    moved = torch.stack([text[0], text[0, order]])
    with shared_attention(unet, torch.tensor([0, 0]), torch.stack([straight[0], order])):
        one, two = unet(same, time, moved)
    assert torch.allclose(one, two, atol=1e-5)  # the same words in another order, each at its own place
    assert torch.allclose(unet(x, time, text), plain, atol=1e-6)


@torch.no_grad()
def test_autoencoder_sizes_and_noise():
    with counter.scope(0, "init"):
        model = Autoencoder(8, (1, 2, 3), 1, 6, 4)
    mean, spread = model.encode(normal("image", 2, 3, 32, 32))
    assert mean.shape == spread.shape == (2, 6, 8, 8) and model.decode(mean).shape == (2, 3, 32, 32)
    with counter.scope(0, "noise"):
        many = drawn(torch.zeros(4000, 1), torch.full((4000, 1), 2.0).log())
    assert abs(float(many.var()) - 2.0) < 0.2
    assert float(gaussian_divergence(torch.zeros(2, 3), torch.zeros(2, 3))) == 0.0
