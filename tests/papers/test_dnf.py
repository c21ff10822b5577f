"""DNF's mechanisms, each by what a wrong implementation would get wrong; its losses, its metrics, its readers."""

import builtins
import dataclasses

import pytest
import torch
from torch.nn import functional as F

from vislab.cards import resolve
from vislab.datasets import mcr, sid
from vislab.engine.measure import macs, parameters
from vislab.errors import UserError
from vislab.ops import counter
from vislab.ops.bayer import colour_map, pack
from vislab.ops.colour import linear_from_srgb, srgb_from_linear
from vislab.papers.restoration.dnf import data, experiment, train
from vislab.papers.restoration.dnf.card import DATASETS, PAPER, PROFILES
from vislab.papers.restoration.dnf.model import CID, MCC, AddFusion, ConcatFusion, GatedFusion, Switched, build

SID, MCR = DATASETS
SMOKE = PROFILES["smoke"]


def config(**changes):
    return dataclasses.replace(SMOKE, **changes)


@pytest.fixture(autouse=True)
def same_weights():
    """Every test builds its layers from the same weights."""
    with counter.scope(0, "init", "test"):
        yield


def network(**changes):
    return build(config(**changes)).eval()


def noise(*shape, draw="input"):
    return counter.normal(0, "evaluate", torch.zeros(1, dtype=torch.int64), draw, shape)[0]


# ------------------------------------------------------------------------------------------------ blocks


def test_the_denoising_block_filters_each_channel_by_itself():
    block = CID(6)
    x = noise(1, 6, 16, 16)
    changed = x.clone()
    changed[:, 2] += noise(16, 16, draw="change")
    moved = (block.depthwise(changed) - block.depthwise(x)).abs().amax(dim=(0, 2, 3))
    assert moved[2] > 0.01 and moved[[0, 1, 3, 4, 5]].max() == 0


def test_the_denoising_block_reaches_three_pixels_the_colour_block_the_whole_picture():
    x = noise(1, 8, 24, 24).double()
    changed = x.clone()
    # in one channel alone: layer normalisation would take away what all of them share
    changed[:, 0, 0, 0] += 3.0
    for block, reach in ((CID(8).double(), 3), (MCC(8, 2).double(), 23)):
        with torch.no_grad():
            moved = (block(changed) - block(x)).abs().amax(dim=(0, 1)) > 0
        rows = moved.any(dim=1).nonzero().max()
        assert int(rows) == reach


def test_the_residual_switch_adds_its_input():
    block, x = Switched(CID(4)), noise(1, 4, 12, 12)
    assert torch.equal(block(x, 0.0), block.block(x))
    assert torch.allclose(block(x, 1.0) - block(x, 0.0), x, atol=1e-6)


def test_the_colour_matrix_mixes_channels_within_heads_and_its_rows_sum_to_one():
    block, x = MCC(12, 3), noise(2, 12, 10, 14)
    mix, values = block.matrix(x)
    assert mix.shape == (2, 3, 4, 4) and values.shape == (2, 3, 4, 140)
    assert torch.allclose(mix.sum(dim=-1), torch.ones(2, 3, 4), atol=1e-6)


def test_the_colour_matrix_is_the_cosine_between_channels_by_the_formula():
    block, x = MCC(4, 1), noise(1, 4, 8, 8)
    q, k, v = block.qkv(block.norm(x)).flatten(2).chunk(3, dim=1)
    cosine = torch.einsum("bip,bjp->bij", q, k) / (q.norm(dim=-1)[:, :, None] * k.norm(dim=-1)[:, None, :])
    with torch.no_grad():
        block.temperature.fill_(3.0)
    mix, values = block.matrix(x)
    assert torch.allclose(mix[:, 0], (3 * cosine).softmax(dim=-1), atol=1e-5)
    assert torch.equal(values[:, 0], v)
    out = block.feed(block.project((mix[:, 0] @ v).reshape(x.shape)) + x)
    assert torch.allclose(block(x), out, atol=1e-6)


def test_the_gate_multiplies_and_the_encoder_stream_is_added_before_the_last_projection():
    fusion, x, feedback = GatedFusion(5), noise(1, 5, 9, 9), noise(1, 5, 9, 9, draw="feedback")
    a, b = fusion.depthwise(fusion.expand(torch.cat([x, feedback], dim=1))).chunk(2, dim=1)
    expected = fusion.project(fusion.reduce(F.gelu(a) * b) + x)
    assert torch.allclose(fusion(x, feedback), expected, atol=1e-6)
    with torch.no_grad():
        fusion.reduce.weight.zero_()
        fusion.reduce.bias.zero_()
    assert torch.allclose(fusion(x, feedback), fusion.project(x), atol=1e-6)


def test_the_plain_fusions():
    x, feedback = noise(1, 5, 9, 9), noise(1, 5, 9, 9, draw="feedback")
    assert torch.equal(AddFusion(5)(x, feedback), x + feedback)
    concat = ConcatFusion(5)
    assert torch.equal(concat(x, feedback), concat.mix(torch.cat([x, feedback], dim=1)))


# ------------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize(("switch", "expected"), [("paper", (0.0, 1.0)), ("on", (1.0, 1.0)), ("off", (0.0, 0.0))])
def test_both_encoder_passes_share_weights_and_differ_in_the_switch(switch, expected):
    model = network(switch=switch)
    seen: dict[str, list[float]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Switched):
            module.register_forward_pre_hook(lambda _, inputs, n=name: seen.setdefault(n, []).append(inputs[1]))
    with torch.no_grad():
        model(noise(1, 4, 32, 32))
    first, second = expected
    for level in range(4):
        assert seen[f"encoder.{level}"] == [first, second]
        assert seen[f"raw_decoder.blocks.{level}"] == [second]


@pytest.mark.parametrize("feedback", ["gated", "concat", "add"])
def test_the_picture_depends_on_the_features_that_are_fed_back(feedback):
    # in double precision: at initialisation the effect on the picture is small
    model, x = network(feedback=feedback).double(), noise(1, 4, 32, 32).double()
    with torch.no_grad():
        before = model(x)["rgb"]
        # the head of the RAW decoder gives the image, not the features
        model.raw_head[2].bias += 1.0
        assert torch.equal(model(x)["rgb"], before)
        for block in model.raw_decoder.blocks:
            before = model(x)["rgb"]
            block.block.reduce.bias += 1.0
            assert (model(x)["rgb"] - before).abs().max() > 1e-8


def test_multi_hands_over_the_image_alone():
    model, x = network(architecture="multi").double(), noise(1, 4, 32, 32).double()
    clean = torch.zeros(1, 4, 32, 32)
    with torch.no_grad():
        before = model(x)["rgb"]
        model.raw_head[2].weight.zero_()
        model.raw_head[2].bias.zero_()
        assert torch.equal(model(x)["raw"], clean.double())
        assert (model(x)["rgb"] - before).abs().max() > 1e-8
        assert torch.equal(model(x)["rgb"], model(2 * x)["rgb"])


@pytest.mark.parametrize("architecture", ["dnf", "multi"])
def test_the_picture_trains_the_raw_decoder_and_never_sees_the_clean_raw(architecture):
    model = network(architecture=architecture)
    model(noise(2, 4, 32, 32))["rgb"].square().mean().backward()
    assert model.raw_decoder.blocks[0].block.depthwise.weight.grad.abs().sum() > 0
    assert model.stem[0].weight.grad.abs().sum() > 0


def test_the_raw_loss_trains_the_encoder_and_leaves_the_colour_decoder_alone():
    model = network()
    model(noise(2, 4, 32, 32))["raw"].square().mean().backward()
    assert model.encoder[0].block.depthwise.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in (*model.colour_decoder.parameters(), *model.feedback.parameters()))


def test_single_has_no_raw_output():
    found = network(architecture="single")(noise(1, 4, 32, 32))
    assert set(found) == {"rgb"}


@pytest.mark.parametrize("architecture", ["dnf", "single", "multi", "unet"])
@pytest.mark.parametrize("block", [2, 3])
def test_any_size_goes_in_and_comes_out(architecture, block):
    model = network(architecture=architecture, block_size=block)
    found = model(noise(1, block**2, 27, 34))
    assert found["rgb"].shape == (1, 3, 27 * block, 34 * block)
    assert "raw" not in found or found["raw"].shape == (1, block**2, 27, 34)


def test_padding_is_by_reflection_and_cropped_back():
    model = network()
    x = noise(1, 4, 28, 32)
    padded = F.pad(x, (0, 0, 2, 2), mode="reflect")
    with torch.no_grad():
        assert torch.allclose(model(x)["rgb"], model(padded)["rgb"][:, :, 4:-4], atol=1e-6)


def counts(profile):
    with torch.device("meta"):
        return {a.name: parameters(build(resolve(PAPER, profile, a.name))) for a in PAPER.arms}


def test_parameters_at_the_papers_widths():
    found = counts("paper")
    assert found["dnf"] == 2_835_103
    assert found["single"] == pytest.approx(1.26e6, rel=0.01)
    assert found["multi"] == pytest.approx(2.51e6, rel=0.01)
    assert found["sid_unet"] == pytest.approx(7.76e6, rel=0.001)


@pytest.mark.parametrize("profile", ["tutorial", "gpu", "paper"])
def test_matched_arms_have_dnfs_size_within_ten_percent(profile):
    found = counts(profile)
    for arm in ("single_matched", "multi_matched", "unet_matched", "blocks_swapped"):
        assert abs(found[arm] / found["dnf"] - 1) <= 0.10, f"{arm}: {found[arm]} against {found['dnf']}"


def test_multiply_accumulates_at_the_papers_scale():
    with torch.device("meta"):
        model = build(PROFILES["paper"])
        found = macs(lambda: model(torch.empty(1, 4, 512, 512)))
    # the reported figure is of a 512x512 packed patch
    assert found == pytest.approx(57.0e9, rel=0.002)


# ------------------------------------------------------------------------------------------------ data and training


def test_arms_differ_only_in_the_network_and_the_raw_loss():
    allowed = {"architecture", "weight_raw", "width_scale", "learning_rate"}
    for name in PAPER.judged():
        assert set(PAPER.arm(name).overrides) <= allowed, name


def test_a_batch_keeps_negatives_and_clips_the_top():
    items = data.batch(SMOKE, "train", 0, torch.arange(8))
    assert items["noisy"].min() < 0 and items["noisy"].max() <= 1
    assert items["noisy"].shape == items["raw"].shape == (8, 4, 32, 32) and items["rgb"].shape == (8, 3, 64, 64)


def test_real_scenes_are_other_pictures_from_the_same_camera():
    leaves, real = (data.batch(SMOKE, "test", 0, torch.arange(4), scenes=s) for s in ("leaves", "real"))
    assert (leaves["rgb"] - real["rgb"]).abs().mean() > 0.05
    assert torch.equal(
        data.batch(config(scenes="real"), "test", 0, torch.arange(4))["noisy"],
        real["noisy"],
    )


def test_the_target_is_not_the_input_developed_by_a_trivial_pipeline():
    items = data.batch(SMOKE, "test", 0, torch.arange(8))
    colours = torch.stack([items["raw"][:, 0], items["raw"][:, 1:3].mean(dim=1), items["raw"][:, 3]], dim=1)
    target = F.avg_pool2d(items["rgb"], 2)
    assert (srgb_from_linear(colours) - target).abs().mean() > 0.03


def test_augmentation_turns_input_and_targets_alike():
    picture = counter.uniform(0, "evaluate", torch.arange(2), "picture", (3, 16, 16))
    small = F.avg_pool2d(picture, 2)
    seen = set()
    for k in range(40):
        with counter.scope(0, "noise", f"step{k}"):
            turned = train.augment({"rgb": picture, "raw": small})
        assert torch.allclose(F.avg_pool2d(turned["rgb"], 2), turned["raw"], atol=1e-6)
        seen.add(tuple(turned["raw"][0, 0].flatten()[:3].tolist()))
    assert len(seen) == 8


def test_augmentation_keeps_the_colour_of_every_packed_channel():
    packed = pack(colour_map("bayer", 8, 8).float()[None], "bayer")
    for k in range(8):
        with counter.scope(0, "noise", f"step{k}"):
            assert torch.equal(train.augment({"raw": packed})["raw"], packed)


def test_the_loss_is_the_weighted_sum_of_both_domains(cpu):
    changed = config(weight_rgb=2.0, weight_raw=3.0)
    state = train.begin(changed, 0, cpu)
    items = data.batch(changed, "train", 0, torch.arange(2))
    with counter.scope(0, "noise", "step0"):
        losses = train.step(state, items)
    assert losses["loss"] == pytest.approx(2 * losses["rgb"] + 3 * losses["raw"], rel=1e-5)
    alone = train.begin(config(architecture="single", weight_raw=0.0), 0, cpu)
    with counter.scope(0, "noise", "step0"):
        losses = train.step(alone, items)
    assert "raw" not in losses and losses["loss"] == pytest.approx(losses["rgb"])


def test_the_rate_ends_at_a_tenth_of_its_peak(cpu):
    state = train.train(config(steps=3, learning_rate=1e-3), 0, cpu)
    assert state.scheduler.get_last_lr()[0] == pytest.approx(1e-4, rel=1e-5)


# ------------------------------------------------------------------------------------------------ metrics


def test_colour_shift_sees_a_tint_and_not_noise_flat_noise_the_reverse():
    target = data.batch(SMOKE, "test", 0, torch.arange(2))["rgb"] * 0.6 + 0.2
    tinted = srgb_from_linear(linear_from_srgb(target) * torch.tensor([1.2, 1.0, 0.8])[None, :, None, None])
    grainy = target + 0.03 * noise(2, 3, 64, 64)
    assert experiment.colour_shift(target, target).max() < 1e-3
    assert (experiment.colour_shift(tinted, target) > 3 * experiment.colour_shift(grainy, target)).all()
    assert (experiment.flat_noise(grainy, target) > 5 * experiment.flat_noise(tinted, target)).all()
    assert torch.allclose(experiment.flat_noise(grainy, target), torch.tensor(0.03), rtol=0.1)


class Fixed(torch.nn.Module):
    """A network that knows the answer, made darker by a factor."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, noisy):
        items = next(i for i in Fixed.items if i["noisy"].shape == noisy.shape and torch.equal(i["noisy"], noisy))
        return {"rgb": items["rgb"] * self.factor}


def test_scores_are_taken_without_matching_the_brightness(cpu):
    Fixed.items = [data.batch(SMOKE, "test", 0, torch.arange(2), scenes=s) for s in ("leaves", "real")]
    state = train.begin(SMOKE, 0, cpu)
    found = {}
    for factor in (1.0, 0.8):
        state.model = Fixed(factor)
        found[factor] = experiment.evaluate(state, SMOKE, 0)
    assert found[1.0]["psnr"] == float("inf") and found[1.0]["delta_e"] < 1e-3
    assert found[0.8]["psnr"] < 30 and found[0.8]["psnr_real"] < 30 and found[0.8]["delta_e"] > 1


def test_evaluation_gives_every_metric_of_the_world(cpu):
    state = train.begin(SMOKE, 0, cpu)
    found = experiment.evaluate(state, SMOKE, 0, split="validation")
    assert set(found) == {"psnr", "ssim", "delta_e", "noise_std", "psnr_raw", "psnr_real", "ssim_real"}


# ------------------------------------------------------------------------------------------------ readers


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("camera", "channels", "block"), [("Sony", 4, 2), ("Fuji", 9, 3)])
def test_sid_sample_is_read_back(tmp_path, camera, channels, block):
    sid.write_sample(tmp_path, camera)
    assert len(sid.pairs(SID, tmp_path, camera, "train")) == 3
    for index in range(3):
        item = sid.read(SID, tmp_path, camera, "train", index)
        side = 48 // block
        assert item["noisy"].shape == item["raw"].shape == (channels, side, side)
        assert item["rgb"].shape == (3, 48, 48)
        # the sample's signal is a ramp that the short exposure holds 250 times weaker; it is amplified back, up to rounding
        assert (item["noisy"] - item["raw"]).abs().max() <= 250 * 0.5 / (sid.WHITE - sid.BLACK[camera]) + 1e-3
        ramp = torch.linspace(0, 1, 48 * 48, dtype=torch.float64).reshape(1, 48, 48)
        assert torch.allclose(item["raw"], pack(ramp, sid.PATTERN[camera])[0].float() * (index + 1) / 3, atol=1e-3)
        assert torch.allclose(item["rgb"], ramp.float().expand(3, -1, -1), atol=1 / 255)


def test_sid_exposure_times_and_the_largest_ratio(tmp_path):
    assert sid.exposure("10003_00_0.04s.ARW") == 0.04 and sid.exposure("10003_00_10s.ARW") == 10
    with pytest.raises(ValueError, match="no exposure"):
        sid.exposure("10003.ARW")
    sid.write_sample(tmp_path)
    listing = tmp_path / "Sony_train_list.txt"
    long = "Sony/long/00001_00_30s.ARW"
    for name in (".png", ".rgb.png"):
        (tmp_path / f"Sony/long/00001_00_10s.ARW{name}").rename(tmp_path / f"{long}{name}")
    listing.write_text(f"./Sony/short/00001_00_0.04s.ARW ./{long} ISO200 F9\n")
    item = sid.read(SID, tmp_path, "Sony", "train", 0)
    # 30 s / 0.04 s = 750, capped at 300: the stored ramp of gain 1/250 comes back 300 / 250 times too bright
    middle = (item["raw"] > 0.1) & (item["raw"] < 0.3)
    assert float((item["noisy"] / item["raw"])[middle].mean()) == pytest.approx(1.2, rel=0.02)


def test_sid_test_split_drops_misaligned_scenes_and_later_shots(tmp_path):
    lines = [
        f"./Sony/short/{scene}_0{shot}_0.1s.ARW ./Sony/long/{scene}_00_10s.ARW ISO200 F9"
        for scene in ("10034", "10035", "10172")
        for shot in (0, 1)
    ]
    (tmp_path / "Sony_test_list.txt").write_text("\n".join(lines))
    (tmp_path / "Sony_train_list.txt").write_text("\n".join(lines))
    assert [p[0].name for p in sid.pairs(SID, tmp_path, "Sony", "test")] == ["10035_00_0.1s.ARW"]
    assert len(sid.pairs(SID, tmp_path, "Sony", "train")) == 6


def test_mcr_sample_is_read_back(tmp_path):
    mcr.write_sample(tmp_path)
    splits = [{p[0].name for p in mcr.pairs(MCR, tmp_path, s)} for s in ("train", "validation")]
    assert splits[0] and splits[1] and not splits[0] & splits[1]
    for index in range(3):
        item = mcr.read(MCR, tmp_path, "test", index)
        ramp = torch.linspace(0, 1, 48 * 48, dtype=torch.float64).reshape(1, 48, 48)
        expected = (ramp * 64 * (index + 1) / 3).floor() / 1023 * 8 * (index + 1)
        assert torch.allclose(item["noisy"], pack(expected, "bayer")[0].float().clamp(max=1), atol=1e-5)
        assert item["rgb"].shape == (3, 48, 48) and torch.allclose(item["rgb"], ramp.float(), atol=1 / 255)


SOURCES = {
    "sid_sony": (SID, lambda f, side: sid.write_sample(f, side=side), "Sony/short/00002_00_0.04s.ARW.png", "Sony_train_list.txt"),
    "sid_fuji": (SID, lambda f, side: sid.write_sample(f, "Fuji", side=side), "Fuji/long/00002_00_10s.RAF.rgb.png", "Fuji_train_list.txt"),
    "mcr": (MCR, lambda f, side: mcr.write_sample(f, side=side), f"{mcr.INSIDE}/Color_RAW_Input/C00001.tif", f"{mcr.INSIDE}/train.txt"),
}  # fmt: skip


def arranged(folder, source, side=48):
    dataset, write, file, listing = SOURCES[source]
    place = folder / dataset.folder
    place.mkdir()
    write(place, side)
    pattern = {"sid_fuji": {"pattern": "xtrans", "block_size": 3}}.get(source, {})
    return config(source=source, image_size=24, **pattern), place / file, place / listing


@pytest.mark.parametrize("source", SOURCES)
def test_a_batch_of_a_real_data_set_trains(folder, cpu, source):
    changed, _, _ = arranged(folder, source, side=108)
    changed = dataclasses.replace(changed, image_size=96)
    items = data.batch(changed, "train", 0, torch.tensor([0, 1]))
    block = changed.block_size
    assert items["rgb"].shape == (2, 3, 96, 96) and items["noisy"].shape == (2, block**2, 96 // block, 96 // block)
    state = train.train(dataclasses.replace(changed, steps=2, train_items=2), 0, cpu)
    assert len(state.history) == 2 and state.history[0]["raw"] > 0


def test_a_random_patch_is_the_same_place_in_all_three(folder):
    changed, _, _ = arranged(folder, "sid_sony")
    whole = sid.read(SID, folder / "sid", "Sony", "train", 2)
    cut = data.crop(whole, 12, 2, 0, "train", 2)
    # the picture is the ramp of the mosaic itself, so that aligned patches agree
    seen = pack(cut["rgb"][0], "bayer")
    assert torch.allclose(seen, cut["raw"], atol=1e-2)
    assert torch.equal(data.crop(whole, 12, 2, 0, "test", 2)["rgb"], whole["rgb"])


@pytest.mark.parametrize("source", SOURCES)
def test_a_missing_file_shows_the_layout(folder, source):
    changed, file, _ = arranged(folder, source)
    file.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        data.batch(changed, "train", 0, torch.arange(3))


@pytest.mark.parametrize("source", SOURCES)
def test_a_truncated_file_is_named(folder, source):
    changed, file, _ = arranged(folder, source)
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError, match=file.name):
        data.batch(changed, "train", 0, torch.arange(3))


@pytest.mark.parametrize("source", SOURCES)
def test_an_empty_file_and_a_broken_list_are_named(folder, source):
    changed, file, listing = arranged(folder, source)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        data.batch(changed, "train", 0, torch.arange(3))
    sid.pairs.cache_clear()
    mcr.pairs.cache_clear()
    listing.write_text("one\n")
    with pytest.raises(UserError, match="cannot be read"):
        data.batch(changed, "train", 0, torch.arange(3))


@pytest.mark.parametrize("source", SOURCES)
def test_an_empty_folder_says_where_to_get_the_data(folder, source):
    dataset = SOURCES[source][0]
    (folder / dataset.folder).mkdir()
    with pytest.raises(UserError, match=r"Expected layout[\s\S]*https://"):
        data.batch(config(source=source), "train", 0, torch.arange(1))


def test_raw_files_without_rawpy_name_the_extra(folder, monkeypatch):
    changed, file, _ = arranged(folder, "sid_sony")
    file.rename(file.with_suffix(""))

    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "rawpy":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"vislab\[raw\]"):
        data.batch(changed, "train", 0, torch.arange(3))


def test_a_damaged_raw_file_is_named(folder):
    pytest.importorskip("rawpy")
    changed, file, _ = arranged(folder, "sid_sony")
    file.rename(file.with_suffix(""))
    with pytest.raises(UserError, match="cannot be read"):
        data.batch(changed, "train", 0, torch.arange(3))
