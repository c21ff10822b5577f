"""What makes InstructPix2Pix itself: generated pairs and their filter, the widened network, what is dropped, two scales."""

import dataclasses
import json

import pytest
import torch

from vislab import zoo
from vislab.cards import resolve
from vislab.datasets import ip2p_pairs
from vislab.errors import UserError
from vislab.nn.autoencoder import drawn
from vislab.nn.diffusion import cumulative, dropped, guided_twice
from vislab.ops import counter
from vislab.papers.generation.instruct_pix2pix import pairs, sampling, triplets
from vislab.papers.generation.instruct_pix2pix.card import DATASETS, PAPER, PROFILES
from vislab.papers.generation.instruct_pix2pix.data import batch, empty, read_length
from vislab.papers.generation.instruct_pix2pix.experiment import dominated, edited, matched_accuracy
from vislab.papers.generation.instruct_pix2pix.train import (
    FIRST,
    SCHEDULE,
    begin,
    encoded,
    started,
    step,
    train,
    weight,
)
from vislab.worlds.shapes.captions import tokenize
from vislab.worlds.shapes.scenes import ScenesWorld

SMOKE = PROFILES["smoke"]
FILTERED = DATASETS[0]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def normal(draw, *shape):
    return counter.normal(0, "noise", torch.arange(shape[0]), draw, shape[1:])


def contexts(model, *texts):
    return [model.text(text[:, :16]) for text in texts]


@pytest.fixture(scope="module")
def found():
    return pairs.generate(SMOKE, 0, torch.arange(8))


def test_two_scales_are_the_gradient_of_the_implicit_posterior():
    """log p + s_I log p(c_I | z) + s_T log p(c_T | c_I, z): with Gaussian scores the formula is exact."""
    none, first, both = normal("a", 3, 2), normal("b", 3, 2), normal("c", 3, 2)
    likely_image, likely_text = first - none, both - first  # gradients of the two likelihoods, by Bayes' rule
    assert torch.allclose(guided_twice(none, first, both, 1.5, 7.5), none + 1.5 * likely_image + 7.5 * likely_text)
    assert torch.allclose(guided_twice(none, first, both, 1.0, 1.0), both, atol=1e-6)
    assert torch.allclose(guided_twice(none, first, both, 1.0, 0.0), first, atol=1e-6)


@torch.no_grad()
def test_an_edit_weighs_its_three_predictions():
    """A network that answers with its conditions: the sampler's noise is exactly the two-scale sum."""
    seen = []

    def network(x, time, picture, context):
        return picture + context.mean(dim=(1, 2))[:, None, None, None]

    def denoise_once(denoise, fresh, steps, shares):
        seen.append(denoise(fresh(-1), torch.tensor(5), 0))
        return seen[-1]

    picture, context, null = normal("p", 2, 4, 4, 4), normal("c", 2, 3, 5), normal("n", 1, 3, 5)
    real, sampling.ancestral = sampling.ancestral, denoise_once
    try:
        sampling.edit(network, picture, context, null, lambda k: torch.zeros_like(picture), 1, None, 1.5, 7.5)
    finally:
        sampling.ancestral = real
    text, nothing = (c.mean(dim=(1, 2))[:, None, None, None] for c in (context, null))
    assert torch.allclose(seen[0], nothing + 1.5 * picture + 7.5 * (text - nothing), atol=1e-5)


def test_the_editor_starts_as_the_base_model():
    """Zero weights for the added channels: before training the picture changes nothing; random ones do."""
    base, x = zoo.load("ldm"), normal("x", 2, 4, 16, 16)
    time, context = torch.tensor([100, 800]), normal("text", 2, 16, 96)
    one, two = normal("p", 2, 4, 16, 16), normal("q", 2, 4, 16, 16)
    with torch.no_grad():
        model = started(config_of("ip2p"), 0).eval()
        assert torch.allclose(model(x, time, one, context), base.unet(x, time, context), atol=1e-5)
        assert torch.allclose(model(x, time, one, context), model(x, time, two, context), atol=1e-5)
        random = started(config_of("random_channels"), 0).eval()
        assert not torch.allclose(random(x, time, one, context), random(x, time, two, context), atol=1e-3)
    scratch = started(config_of("scratch"), 0)
    assert not torch.allclose(scratch.unet.state_dict()[FIRST][:, :4], base.unet.state_dict()[FIRST], atol=1e-3)
    assert torch.equal(
        scratch.autoencoder.state_dict()["to_moments.bias"], model.autoencoder.state_dict()["to_moments.bias"]
    )


def test_the_picture_is_not_scaled_and_the_noisy_latent_is(cpu, found):
    config = config_of("ip2p", drop_text=0.0, drop_image=0.0, drop_both=0.0)
    state, seen = begin(config, 0, cpu), {}
    state.model.unet.register_forward_pre_hook(lambda _, given: seen.update(x=given[0].detach(), time=given[1]))
    items = {name: found[name] for name in ("source", "target", "instruction")}
    with counter.scope(0, "noise", "step0"):
        step(state, items)
    mirrored = items["source"].flip(-1)
    picture = seen["x"][:, 4:]
    for row in range(len(picture)):
        modes = [state.network.encode(side[row : row + 1])[0] for side in (items["source"], mirrored)]
        assert min(float((picture[row] - mode).abs().max()) for mode in modes) < 1e-4
    scale = float(state.network.scale)
    assert not 0.9 < scale < 1.1, "the test cannot tell a scaled latent from an unscaled one"


def test_what_is_dropped_is_dropped_together_and_apart():
    text, picture = dropped((torch.arange(100) + 0.5) / 100, 0.05, 0.10, 0.20)
    counts = [int((a & b).sum()) for a, b in ((text, ~picture), (~text, picture), (text, picture))]
    assert counts == [5, 10, 20]


@pytest.mark.parametrize(("field", "blank"), [("drop_image", "picture"), ("drop_text", "text"), ("drop_both", "both")])
def test_dropping_blanks_the_condition(field, blank, cpu, found):
    nothing = {"drop_text": 0.0, "drop_image": 0.0, "drop_both": 0.0}
    state, seen = begin(config_of("ip2p", **nothing | {field: 1.0}), 0, cpu), {}
    state.model.unet.register_forward_pre_hook(lambda _, given: seen.update(x=given[0].detach(), context=given[2]))
    with counter.scope(0, "noise", "step0"):
        step(state, {name: found[name] for name in ("source", "target", "instruction")})
    null = state.network.read(read_length(SMOKE, empty(SMOKE)))
    assert bool((seen["x"][:, 4:] == 0).all()) == (blank in ("picture", "both"))
    assert torch.allclose(seen["context"], null.expand_as(seen["context"])) == (blank in ("text", "both"))


def test_only_the_unet_learns(cpu):
    config = config_of("ip2p", learning_rate=1e-2)
    before, after = started(config, 0).state_dict(), train(config, 0, cpu).network.state_dict()
    moved = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"unet"}


def test_the_factory_draws_no_scene(monkeypatch):
    """The claim is about generated pairs: the renderer of the world must not be called."""

    def refuse(*_):
        raise AssertionError("the pair factory drew a scene")

    monkeypatch.setattr(ScenesWorld, "draw", refuse)
    monkeypatch.setattr(ScenesWorld, "sample", refuse)
    assert pairs.generate(SMOKE, 0, torch.arange(2))["source"].shape == (2, 3, 32, 32)
    with pytest.raises(AssertionError, match="drew a scene"):
        batch(SMOKE, "test", 0, torch.arange(2))


def test_candidates_share_a_prompt_and_differ_in_noise(found):
    assert SMOKE.candidates == 3
    for name in ("before", "instruction", "after"):
        assert torch.equal(found[name][0:6:3], found[name][1:6:3])
    assert not torch.allclose(found["source"][0], found["source"][1], atol=0.05)
    alone = pairs.generate(SMOKE, 0, torch.tensor([5]))
    assert torch.allclose(alone["target"][0], found["target"][5], atol=1e-3)  # whatever the batch


@torch.no_grad()
def test_shared_attention_keeps_the_pictures_alike():
    model, shares = zoo.load("ldm"), cumulative(SCHEDULE)
    items = pairs.generate(SMOKE, 3, torch.arange(6))
    before, after, null = contexts(model, items["before"], items["after"], empty(SMOKE))
    fresh = sampling.own_noise(0, "noise", torch.arange(6), "pair", (4, 16, 16))

    def apart(share, second=after):
        one, two = sampling.paired(
            model.unet, before, second, null, fresh, 8, shares, torch.full((6,), 2.0), torch.full((6,), share)
        )
        return float((one - two).square().mean()), one

    (independent, first), (shared, again) = apart(0.0), apart(0.9)
    assert shared < independent
    assert torch.allclose(first, again, atol=1e-4)  # the first picture never looks at the second
    assert apart(0.0, before)[0] < 1e-8
    painted = sampling.painted(model.unet, before, null, fresh, 8, shares, 2.0)
    assert torch.allclose(first, painted, atol=1e-3)  # without sharing, a pair is two plain pictures from one noise


def test_filter_by_hand():
    config = dataclasses.replace(SMOKE, candidates=3, keep=1, least_similarity=0.7, least_fit=0.2, least_direction=0.2)
    scores = {
        "similarity": torch.tensor([0.9, 0.9, 0.6, 0.9, 0.9, 0.9, 0.9]),
        "fit": torch.tensor([0.3, 0.3, 0.3, 0.1, 0.3, 0.3, 0.3]),
        "direction": torch.tensor([0.3, 0.5, 0.9, 0.9, 0.1, 0.25, 0.4]),
    }
    assert pairs.passes(config, scores).nonzero()[:, 0].tolist() == [1, 5, 6]
    assert pairs.passes(dataclasses.replace(config, keep=2), scores).nonzero()[:, 0].tolist() == [0, 1, 5, 6]
    assert pairs.chosen(config, scores).tolist() == [1, 5, 6]
    assert pairs.chosen(dataclasses.replace(config, filtered=False), scores).tolist() == [0, 3, 6]  # as many
    more = dataclasses.replace(config, filtered=False, keep=2)
    assert pairs.chosen(more, scores).tolist() == [0, 1, 3, 4]
    assert pairs.chosen(dataclasses.replace(config, pair_share=0.34), scores).tolist() == [1]
    with pytest.raises(ValueError, match="no pair passes"):
        pairs.chosen(dataclasses.replace(config, least_fit=0.9), scores)


def test_words_of_both_captions_are_aligned():
    """Unedited words lie where they lay, a replaced word where the old one lay; new words and the end stand for none."""
    before = tokenize(["a red circle and a blue star on a white background in daylight"] * 3)
    after = tokenize([
        "a red circle and a blue ring on a white background in daylight",
        "a blue star on a white background in daylight",
        "a red circle and a blue star on a white background as a sketch",
    ])  # fmt: skip
    swapped, removed, drawn_anew = pairs.aligned(before[:, :16], after[:, :16]).tolist()
    assert swapped[:14] == list(range(14)) and swapped[14] == -1
    assert removed[1:10] == [1, 6, 7, 8, 9, 10, 11, 12, 13] and removed[10] == -1
    assert drawn_anew[:12] == list(range(12)) and drawn_anew[12:16] == [-1] * 4


def test_the_released_code_shares_less():
    """`follow="code"` shares the maps of self-attention alone; the default those of the text as well."""
    config = dataclasses.replace(SMOKE, share_low=0.9, share_high=0.9 + 1e-6, pair_steps=6)
    sides = {
        f: pairs.generate(dataclasses.replace(config, follow=f), 3, torch.arange(0, 24, 3)) for f in ("paper", "code")
    }
    assert torch.allclose(sides["paper"]["source"], sides["code"]["source"], atol=1e-3)
    apart = {f: float((side["source"] - side["target"]).square().mean()) for f, side in sides.items()}
    assert apart["paper"] < apart["code"]


def test_high_noise_counts_more_where_it_is_asked_to():
    shares = cumulative(SCHEDULE)
    signal = shares / (1 - shares)
    assert torch.equal(weight(shares, 0.0), torch.ones_like(shares))
    assert torch.allclose(weight(shares, 10.0), (0.1 / signal).clamp(max=1))
    assert PROFILES["paper"].least_noise == 0.0


def test_direction_is_the_cosine_of_both_changes():
    clip, image = zoo.load("clip"), normal("image", 2, 3, 32, 32).sigmoid()
    text = batch(SMOKE, "test", 0, torch.arange(2))
    same = pairs.scores(clip, image, image, text["before"], text["before"])
    assert torch.allclose(same["similarity"], torch.ones(2), atol=1e-5) and same["direction"].abs().max() < 1e-3
    there = pairs.scores(clip, text["source"], text["target"], text["before"], text["after"])
    back = pairs.scores(clip, text["target"], text["source"], text["after"], text["before"])
    assert torch.allclose(there["direction"], back["direction"], atol=1e-5)


@torch.no_grad()
def test_sampler_finds_a_single_picture():
    """With the exact noise of a one-picture world every run ends at that picture."""
    shares, clean = cumulative(SCHEDULE), normal("clean", 1, 4, 4, 4)

    def exact(x, time, k):
        share = shares[time]
        return (x - share.sqrt() * clean) / (1 - share).sqrt()

    fresh = sampling.own_noise(0, "noise", torch.arange(3), "sampler", (4, 4, 4))
    assert torch.allclose(sampling.ancestral(exact, fresh, 12, shares), clean.expand(3, -1, -1, -1), atol=1e-3)


@torch.no_grad()
def test_sdedit_keeps_more_the_weaker_it_is():
    model, shares = zoo.load("ldm"), cumulative(SCHEDULE)
    items = batch(SMOKE, "test", 0, torch.arange(8))
    clean = model.scale * model.autoencoder.encode(2 * items["source"] - 1)[0]
    context, null = contexts(model, items["after"], empty(SMOKE))
    fresh = sampling.own_noise(0, "noise", torch.arange(8), "sdedit", (4, 16, 16))
    left = [
        float((sampling.painted(model.unet, context, null, fresh, 10, shares, 2.0, s, clean) - clean).square().mean())
        for s in (0.2, 0.6, 1.0)
    ]
    assert left[0] < left[1] < left[2]


def test_optimising_explains_the_picture():
    model, shares = zoo.load("ldm"), cumulative(SCHEDULE)
    items = batch(SMOKE, "test", 0, torch.arange(2))
    clean = (model.scale * model.autoencoder.encode(2 * items["source"] - 1)[0]).detach()
    (context,) = contexts(model, items["after"])
    fresh = sampling.own_noise(0, "noise", torch.arange(2), "optimise", (4, 16, 16))

    def error(text):
        time = torch.full((2,), 500)
        noise, share = fresh(7), shares[500]
        return float(
            (model.unet(share.sqrt() * clean + (1 - share).sqrt() * noise, time, text) - noise).square().mean()
        )

    found = sampling.optimised(model.unet, clean, context.detach(), fresh, 12, shares, 0.05)
    with torch.no_grad():
        assert error(found) < error(context)
    weights = [p.clone() for p in model.unet.parameters()]
    sampling.optimised(model.unet, clean, context.detach(), fresh, 2, shares, 0.05)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.unet.parameters(), strict=True))
    model.unet.requires_grad_(True)
    sampling.optimised(model.unet, clean, context.detach(), fresh, 2, shares, 0.05, network_too=True)
    assert not all(torch.equal(a, b) for a, b in zip(weights, model.unet.parameters(), strict=True))


def test_leaving_the_picture_alone_wins_nothing():
    assert matched_accuracy([], 85.0) == 0.0 and dominated([(0.0, 100.0)]) == 0.0
    assert matched_accuracy([(60.0, 90.0), (80.0, 50.0)], 85.0) == pytest.approx(62.5)
    assert matched_accuracy([(80.0, 50.0)], 90.0) == pytest.approx(16.0)  # one item in five edited
    assert dominated([(50.0, 80.0), (75.0, 40.0)]) == pytest.approx((50 * 80 + 25 * 40) / 100)
    assert dominated([(50.0, 80.0), (40.0, 60.0)]) == pytest.approx(40.0)  # a setting worse in both adds nothing


def test_pairs_are_seen_both_ways_round(cpu, found):
    state = begin(SMOKE, 0, cpu)
    pool = {
        name: (255 * value).round().to(torch.uint8) if name in ("source", "target") else value
        for name, value in found.items()
    }
    items = encoded(state, pool)
    assert items["moments"].shape[1:] == (2, 12, 16, 16)
    mode = items["moments"][:, 1, :4]
    straight = state.network.encode(found["source"][pairs.chosen(SMOKE, found)].flip(-1))
    assert torch.allclose(mode, straight, atol=0.05)
    mean = items["moments"][:, 0, 4:8]
    with counter.scope(0, "noise", "drawn"):
        assert not torch.equal(drawn(mean, items["moments"][:, 0, 8:]), mean)


def test_guidance_acts(cpu):
    """More text guidance moves the edit; the knob s_I reaches the network."""
    config = config_of("random_channels")
    state = begin(config, 0, cpu)
    items, index = batch(config, "test", 0, torch.arange(4)), torch.arange(4)
    plain = edited(state, config, 0, items, index, 1.0)
    assert not torch.allclose(plain, edited(state, config, 0, items, index, 3.0), atol=1e-2)
    stronger = dataclasses.replace(config, text_scale=8.0)
    assert not torch.allclose(plain, edited(state, stronger, 0, items, index, 1.0), atol=1e-2)


def test_grammar_is_sound_and_the_check_is_strict():
    good = triplets.triplets(0, 0, 200)
    assert all(triplets.sound(t) for t in good)
    assert not any(triplets.sound((a, b, a)) for a, b, c in good if a != c)
    assert not triplets.sound(
        ("a red circle on a blue background in daylight", "sing", "a red circle on a blue background in daylight")
    )


def test_language_model_learns_triplets():
    model = triplets.language_model(0, width=48, layers=1)
    losses = triplets.learn(model, 0, 40, batch_size=16)
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])
    assert len(triplets.write(model, ["a red circle on a blue background in daylight"])[0]) == 3


def test_released_pairs(tmp_path):
    ip2p_pairs.write_sample(tmp_path)
    (before, after), (told, asked, retold) = ip2p_pairs.read(FILTERED, tmp_path, "train", torch.arange(3), 16)
    assert before.shape == after.shape == (3, 3, 16, 16)
    assert torch.allclose(before.mean(dim=(2, 3))[:, 0], torch.tensor(200 / 255), atol=0.02)
    assert torch.allclose(after.mean(dim=(2, 3))[:, 1], torch.tensor(200 / 255), atol=0.02)
    assert (told[1], asked[1], retold[1]) == ("red thing 1", "make it green", "green thing 1")
    sizes = {split: len(ip2p_pairs.prompts(FILTERED, tmp_path, split)) for split in ip2p_pairs.SHARES}
    assert sizes == {"train": 18, "validation": 1, "test": 1}


def test_released_pairs_damaged(tmp_path):
    with pytest.raises(UserError, match="Expected layout"):
        ip2p_pairs.read(FILTERED, tmp_path / "nothing", "train", torch.arange(1), 16)
    ip2p_pairs.write_sample(tmp_path)
    picture = tmp_path / "shard-00/0000000/7_1.jpg"
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(UserError, match="cannot be read"):
        ip2p_pairs.read(FILTERED, tmp_path, "train", torch.arange(1), 16)
    (tmp_path / "shard-00/0000001/prompt.json").write_text(json.dumps({"input": "x"}))
    with pytest.raises(UserError, match="prompt.json"):
        ip2p_pairs.read(FILTERED, tmp_path, "train", torch.tensor([1]), 16)
    (tmp_path / "seeds.json").write_text("[[")
    ip2p_pairs.prompts.cache_clear()
    with pytest.raises(UserError, match="seeds.json"):
        ip2p_pairs.prompts(FILTERED, tmp_path, "train")
