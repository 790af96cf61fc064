from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from sublabel.errors import ArtifactError, ConfigError
from sublabel.training import Classifier, ModelCard, save_model
from sublabel_video.backbones import BACKBONES, PaddedConv3d, create_backbone, inflate

IMAGENET_WEIGHTS = Path(__file__).parents[3] / "shared/data/weights/tf_efficientnet_lite0.safetensors"


def randomise(network: nn.Module) -> nn.Module:
    """A network whose every norm does something, so that none can be mixed up unseen."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def resnet50():
    return randomise(timm.create_model("resnet50"))


def fresh(backbone: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "name", [*BACKBONES, "tsn:resnet18", "tsn:small_resnet7", "tsn:mobilenetv3_small_050"]
)
def test_any_clip_size_gives_features(name):
    backbone = create_backbone(name).eval()
    assert backbone.preprocessing.input_size[0] == 3
    for size in ((1, 32, 32), (2, 48, 40), (5, 33, 47)):
        with torch.no_grad():
            assert backbone(torch.rand(2, 3, *size)).shape == (2, backbone.num_features)


def test_the_slow_network_sees_time_in_its_last_two_stages_only():
    stem, *stages = create_backbone("slow_r50").blocks
    assert (stem.conv.kernel_size, stem.conv.stride) == ((1, 7, 7), (1, 2, 2))
    for stage, expected in zip(stages, (1, 1, 3, 3), strict=True):
        convolutions = {
            name: module for name, module in stage.named_modules() if isinstance(module, nn.Conv3d)
        }
        for name, convolution in convolutions.items():
            assert convolution.kernel_size[0] == (expected if "conv_a" in name else 1)
            assert convolution.stride[0] == 1


def test_its_tensors_have_the_names_and_shapes_of_pytorchvideos():
    from pytorchvideo.models.hub import slow_r50, x3d_s

    for name, build in (("slow_r50", slow_r50), ("x3d_s", x3d_s)):
        theirs = {key: tensor.shape for key, tensor in build().state_dict().items() if ".proj." not in key}
        assert {key: tensor.shape for key, tensor in create_backbone(name).state_dict().items()} == theirs


def test_pytorchvideos_own_weights_load_without_their_classifier(tmp_path):
    from pytorchvideo.models.resnet import create_resnet

    theirs = randomise(create_resnet(stem_dim_out=16, stem_conv_kernel_size=(1, 7, 7), model_num_class=7))
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    backbone = create_backbone("slow_r50_narrow", weights=tmp_path / "w.safetensors").eval()
    theirs.blocks[5].pool, theirs.blocks[5].proj = nn.AdaptiveAvgPool3d(1), nn.Identity()
    clips = torch.rand(2, 3, 4, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(backbone(clips), theirs(clips))


@pytest.mark.parametrize("name", ["x3d_xs", "small_resnet3d", "tsn:small_resnet7"])
def test_a_state_comes_back_from_its_file(name, tmp_path):
    backbone = randomise(create_backbone(name))
    save_file(backbone.state_dict(), tmp_path / "w.safetensors")
    again = create_backbone(name, weights=tmp_path / "w.safetensors")
    assert same(again.state_dict(), backbone.state_dict())


@pytest.mark.parametrize("name", ["small_resnet3d", "tsn:small_resnet7"])
def test_a_saved_model_is_taken_as_weights(name, tmp_path):
    backbone = randomise(create_backbone(name))
    wanted = backbone.preprocessing.model_copy(update={"mean": (0.1, 0.2, 0.3)})
    card = ModelCard(domain="video", backbone=name, classes=("left", "right"), preprocessing=wanted)
    save_model(tmp_path, Classifier(backbone, 2, mean=wanted.mean, std=wanted.std), card)
    again = create_backbone(name, weights=tmp_path)
    assert same(again.state_dict(), backbone.state_dict())
    if name == "small_resnet3d":
        assert again.preprocessing.mean == (0.1, 0.2, 0.3)


def test_an_inflated_network_gives_each_stage_of_the_2d_one_on_a_repeated_frame(resnet50):
    # In double precision: whether two nets are the same must not hang on how a machine rounds.
    resnet50, backbone = deepcopy(resnet50).double(), create_backbone("slow_r50").eval().double()
    inflate(backbone, resnet50)
    frame = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    # The nine kernels over time of the last two stages carry the border's zeros nine frames inward.
    maps = frame.unsqueeze(2).expand(-1, -1, 21, -1, -1)
    with torch.no_grad():
        expected = resnet50.maxpool(resnet50.act1(resnet50.bn1(resnet50.conv1(frame))))
        stages = [None, resnet50.layer1, resnet50.layer2, resnet50.layer3, resnet50.layer4]
        for block, stage in zip(backbone.blocks, stages, strict=True):
            maps = block(maps)
            expected = expected if stage is None else stage(expected)
            assert maps.shape[2] == 21
            assert expected.std() > 0.1
            torch.testing.assert_close(maps[:, :, 10], expected, rtol=1e-6, atol=1e-6)
        # The first frame lies at the border, so the comparison above is not empty.
        assert not torch.allclose(maps[:, :, 0], expected, rtol=1e-2, atol=1e-2)


def test_inflation_carries_every_batch_norm_statistic(resnet50):
    backbone = create_backbone("slow_r50")
    inflate(backbone, resnet50.state_dict())
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm3d)]
    theirs = [module for module in resnet50.modules() if isinstance(module, nn.BatchNorm2d)]

    def multiset(modules, name):
        return sorted(tuple(getattr(module, name).tolist()) for module in modules)

    assert len(norms) == 53
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert multiset(norms, name) == multiset(theirs, name)


def test_what_does_not_map_is_refused_and_nothing_is_loaded(resnet50):
    backbone = create_backbone("slow_r50")
    before = fresh(backbone)
    state = resnet50.state_dict()
    for wrong, reason in (
        ({**state, "layer1.0.se.fc.weight": torch.zeros(3)}, r"1 tensors of the 2D .*layer1\.0\.se\.fc"),
        ({name: state[name] for name in state if name != "layer4.2.bn3.bias"}, r"1 of the 3D .*norm_c\.bias"),
        ({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, r"conv1\.weight \(64, 1, 7, 7\) for blocks\.0"),
        (timm.create_model("resnet18").state_dict(), "of the same depth, such as resnet50"),
    ):
        with pytest.raises(ArtifactError, match=reason):
            inflate(backbone, wrong)
        assert same(backbone.state_dict(), before)


def test_a_file_of_the_2d_network_is_inflated(resnet50, tmp_path):
    save_file(resnet50.state_dict(), tmp_path / "resnet50.safetensors")
    backbone = create_backbone("slow_r50", weights=tmp_path / "resnet50.safetensors")
    expected = create_backbone("slow_r50")
    inflate(expected, resnet50)
    assert same(backbone.state_dict(), expected.state_dict())
    assert backbone.preprocessing.mean == timm.data.IMAGENET_DEFAULT_MEAN
    assert expected.preprocessing.mean == (0.45, 0.45, 0.45)
    with pytest.raises(ArtifactError, match="cannot inflate"):
        create_backbone("slow_r50_narrow", weights=tmp_path / "resnet50.safetensors")


def test_pretrained_inflates_timms_published_weights(resnet50, monkeypatch):
    asked = []

    def published(name, *, pretrained=False, **_):
        asked.append((name, pretrained))
        return resnet50

    monkeypatch.setattr("sublabel_video.backbones.building.create_image_backbone", published)
    backbone = create_backbone("slow_r50", pretrained=True)
    assert asked == [("resnet50", True)]
    assert torch.equal(backbone.blocks[0].norm.running_var, resnet50.bn1.running_var)
    assert backbone.preprocessing.std == timm.data.IMAGENET_DEFAULT_STD


def test_frames_through_an_image_network_average_to_its_features():
    backbone = create_backbone("tsn:resnet18").eval()
    frames = torch.rand(3, 3, 2, 48, 48)
    with torch.no_grad():
        each = [backbone.image_backbone(frames[:, :, time]) for time in range(2)]
        torch.testing.assert_close(backbone(frames), (each[0] + each[1]) / 2)
        repeated = frames[:, :, :1].expand(-1, -1, 5, -1, -1)
        torch.testing.assert_close(backbone(repeated), each[0])


def test_channels_last_clips_become_channels_last_frames_without_a_copy():
    seen = []

    class Spy(nn.Module):
        num_features = 3
        pretrained_cfg: dict = {}  # noqa: RUF012

        def forward(self, frames):
            seen.append(frames)
            return frames.mean((2, 3))

    backbone = create_backbone("tsn:small_resnet7")
    backbone.image_backbone = Spy()
    clips = torch.rand(2, 3, 4, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    backbone(clips)
    assert seen[0].data_ptr() == clips.data_ptr()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not IMAGENET_WEIGHTS.is_file(), reason="the ImageNet weights are not here")
def test_imagenet_weights_from_a_file_serve_clips():
    backbone = create_backbone("tsn:tf_efficientnet_lite0", weights=IMAGENET_WEIGHTS).eval()
    network = timm.create_model(
        "tf_efficientnet_lite0", pretrained=True, pretrained_cfg_overlay={"file": str(IMAGENET_WEIGHTS)}
    ).eval()
    config = timm.data.resolve_model_data_config(network)
    assert backbone.preprocessing.input_size == (3, 8, *config["input_size"][1:])
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == (config["mean"], config["std"])
    frame = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(frame), pre_logits=True)
        clip = frame.unsqueeze(2).expand(-1, -1, 3, -1, -1)
        torch.testing.assert_close(backbone(clip), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("slow_r5", "no video backbone 'slow_r5'; did you mean slow_r50"),
        ("resnet50", "image network; did you mean tsn:resnet50"),
        ("tsn:resnet51", "timm has no model 'resnet51'; did you mean .*resnet50"),
        ("nothing alike", r"no video backbone 'nothing alike' \(there are slow_r50, .*tsn:<timm name>"),
    ],
)
def test_an_unknown_name_is_answered_with_similar_ones(name, reason):
    with pytest.raises(ConfigError, match=reason):
        create_backbone(name)


def test_a_network_without_published_weights_says_what_to_do():
    with pytest.raises(
        ConfigError, match="small_resnet3d has no ImageNet weights: give a file .* or take slow_r50"
    ):
        create_backbone("small_resnet3d", pretrained=True)


def test_weights_that_are_missing_damaged_or_of_another_network_are_refused(tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    save_file(create_backbone("slow_r50_narrow").state_dict(), tmp_path / "narrow.safetensors")
    save_file(create_backbone("tsn:resnet18").state_dict(), tmp_path / "frames.safetensors")
    for name, other in (("small_resnet3d", "narrow"), ("tsn:small_resnet7", "frames")):
        for file, reason in (
            ("nothing", "there is no weights file"),
            ("damaged", "is not a safetensors file"),
            (other, "do not fit"),
        ):
            with pytest.raises(ArtifactError, match=reason):
                create_backbone(name, weights=tmp_path / f"{file}.safetensors")


@pytest.mark.parametrize(
    ("kernel", "size", "groups"),
    [
        ((3, 1, 1), (2, 4, 4), 1),
        ((3, 3, 3), (2, 2, 2), 1),
        ((5, 1, 1), (4, 4, 4), 1),
        ((5, 1, 1), (4, 4, 4), 64),
    ],
)
def test_weight_gradients_in_bfloat16_are_right_where_the_kernel_is_the_larger(kernel, size, groups):
    # Those of nn.Conv3d are not, on CPUs with AVX512-BF16.
    torch.manual_seed(0)
    convolution = PaddedConv3d(64, 64, kernel, padding=[extent // 2 for extent in kernel], groups=groups)
    inputs = torch.randn(8, 64, *size)
    upstream = torch.randn(8, 64, *size)
    (expected,) = torch.autograd.grad(convolution(inputs), convolution.weight, upstream)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            outputs = convolution(inputs)
        (gradient,) = torch.autograd.grad(outputs, convolution.weight, upstream.to(outputs.dtype))
        assert (gradient - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_convolution_pads_by_itself(name):
    convolutions = [module for module in create_backbone(name).modules() if isinstance(module, nn.Conv3d)]
    assert {type(convolution) for convolution in convolutions} == {PaddedConv3d}


@pytest.mark.parametrize(
    ("kernel", "stride"), [((3, 1, 1), 1), ((5, 3, 3), (2, 1, 1)), ((1, 3, 3), (1, 2, 2))]
)
@pytest.mark.parametrize("size", [(2, 4, 4), (1, 1, 3), (4, 1, 1), (6, 5, 5)])
def test_padding_by_itself_changes_no_convolution(kernel, stride, size):
    padding = tuple(extent // 2 for extent in kernel)
    plain = nn.Conv3d(4, 6, kernel, stride=stride, padding=padding, groups=2)
    padded = PaddedConv3d(4, 6, kernel, stride=stride, padding=padding, groups=2)
    padded.load_state_dict(plain.state_dict())
    inputs = torch.randn(2, 4, *size)
    torch.testing.assert_close(padded(inputs), plain(inputs))


def test_the_small_network_keeps_its_size():
    assert sum(parameter.numel() for parameter in create_backbone("small_resnet3d").parameters()) < 300_000


def test_the_small_network_learns_which_way_a_blob_slides():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)

    def sliding(count):
        """Clips of a blob on noise that slides right (1) or left (0): one frame does not tell which."""
        backgrounds = torch.rand(count, 3, 1, 32, 32, generator=generator).expand(-1, -1, 8, -1, -1).clone()
        directions = torch.arange(count) % 2
        rows, starts = (
            torch.randint(low, high, (count,), generator=generator) for low, high in ((0, 24), (0, 10))
        )
        for clip, direction, row, start in zip(backgrounds, directions, rows, starts, strict=True):
            for time in range(8):
                left = start + 2 * (time if direction else 7 - time)
                clip[:, time, row : row + 8, left : left + 8] = 1
        return (backgrounds - 0.5) * 4, directions

    backbone = create_backbone("small_resnet3d")
    classifier = nn.Sequential(backbone, nn.Linear(backbone.num_features, 2))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=42)
    clips, directions = sliding(192)
    for _ in range(7):
        for batch in torch.randperm(192).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(classifier(clips[batch]), directions[batch]).backward()
            optimizer.step()
            schedule.step()
    classifier.eval()
    unseen, truth = sliding(100)
    with torch.no_grad():
        assert (classifier(unseen).argmax(1) == truth).float().mean() > 0.9
        # Played backwards, they slide the other way.
        assert (classifier(unseen.flip(2)).argmax(1) == truth).float().mean() < 0.1
