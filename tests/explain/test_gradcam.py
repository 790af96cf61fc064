from __future__ import annotations

import itertools

import pytest
import timm
import torch
from captum.attr import LayerGradCam
from torch import nn
from torch.nn import functional as F

from sublabel.errors import ConfigError, LabelError
from sublabel.explain import grad_cam
from sublabel.feature_maps import MapLayout, feature_layer
from sublabel.media.domain import Preprocessing
from sublabel.training import Classifier
from sublabel_image import ImageDomain, create_backbone
from sublabel_video import ClipOptions, VideoDomain
from sublabel_video import create_backbone as create_video_backbone
from sublabel_video.backbones import VideoBackbone

SIZE = 48
HALF = SIZE // 2
FRAMES = 16
NORM = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
QUADRANTS = [(slice(top, top + HALF), slice(left, left + HALF)) for top in (0, HALF) for left in (0, HALF)]
SPANS = [slice(0, FRAMES // 2), slice(FRAMES // 2, FRAMES)]


@pytest.fixture(scope="module", autouse=True)
def one_thread_and_seed():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(before)


def noise(*shape):
    return torch.randint(90, 150, shape, dtype=torch.uint8)


def stripes(label):
    """Class 0 is horizontal stripes, class 1 vertical ones, (HALF, HALF)."""
    lines = (torch.arange(HALF) % 4 < 2).to(torch.uint8) * 255
    return lines[:, None].expand(HALF, HALF) if label == 0 else lines.expand(HALF, HALF)


def draw(picture, label, place, span=None):
    """Draw a class's stripes into a quadrant of an image (3, H, W), or into that of a span of a clip."""
    where = (slice(None), *place) if span is None else (slice(None), span, *place)
    picture[where] = stripes(label)


def fit(classifier, inputs, labels, *, steps, batch):
    """Train; features cost something, so that the network is silent where nothing speaks for a class.

    Without that, where it looks is not known: what all places share cancels out between the classes.
    """
    classifier.train()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=3e-3)
    for _ in range(steps):
        chosen = torch.randint(len(inputs), (batch,))
        features = classifier.backbone(classifier.normalise(inputs[chosen]))
        loss = F.cross_entropy(classifier.head(features), labels[chosen]) + 0.03 * features.sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return classifier.eval()


def convolution(kind, norm, width, out, kernel, stride):
    padding = tuple(size // 2 for size in kernel)
    layers = (
        kind(width, out, kernel, stride=stride, padding=padding, bias=False),
        norm(out),
        nn.ReLU(inplace=True),
    )
    return nn.Sequential(*layers)


class SmallConvNet(nn.Module):
    """Three convolutions under a mean, so that each place has its own share in the features."""

    num_features = 32

    def __init__(self):
        super().__init__()
        layers = [(3, 16, (3, 3), 2), (16, 32, (3, 3), 2), (32, 32, (3, 3), 1)]
        self.layers = nn.Sequential(*(convolution(nn.Conv2d, nn.BatchNorm2d, *layer) for layer in layers))

    def forward(self, inputs):
        return self.layers(inputs).mean((-2, -1))


def small_video_backbone():
    """As SlowFast's slow pathway: no stride over time, and kernels over time late only."""
    layers = [(3, 16, (1, 3, 3), (1, 2, 2)), (16, 32, (1, 3, 3), (1, 2, 2)), (32, 32, (3, 3, 3), 1)]
    blocks = [convolution(nn.Conv3d, nn.BatchNorm3d, *layer) for layer in layers]
    preprocessing = Preprocessing(input_size=(3, FRAMES, SIZE, SIZE), **NORM)
    return VideoBackbone(blocks, num_features=32, preprocessing=preprocessing)


@pytest.fixture(scope="module")
def image_classifier():
    images, labels = noise(256, 3, SIZE, SIZE), torch.arange(256) % 2
    for image, label in zip(images, labels.tolist(), strict=True):
        draw(image, label, QUADRANTS[int(torch.randint(4, ()))])
    return fit(Classifier(SmallConvNet(), 2, **NORM), images, labels, steps=100, batch=32)


@pytest.fixture(scope="module")
def clip_classifier():
    clips, labels = noise(64, 3, FRAMES, SIZE, SIZE), torch.arange(64) % 2
    for clip, label in zip(clips, labels.tolist(), strict=True):
        draw(clip, label, QUADRANTS[int(torch.randint(4, ()))], SPANS[int(torch.randint(2, ()))])
    return fit(Classifier(small_video_backbone(), 2, **NORM), clips, labels, steps=60, batch=8)


def share(heat, *where):
    """The share of the mass that lies there."""
    return float(heat[where].sum() / heat.sum())


def test_the_heat_of_a_class_lies_in_the_quadrant_that_shows_it(image_classifier):
    for quadrants in itertools.permutations(range(4), 2):
        image = noise(3, SIZE, SIZE)
        for label, quadrant in enumerate(quadrants):
            draw(image, label, QUADRANTS[quadrant])
        heat = grad_cam(image_classifier, image.expand(2, -1, -1, -1), [0, 1])
        for label, quadrant in enumerate(quadrants):
            assert share(heat[label], *QUADRANTS[quadrant]) > 0.8, (quadrants, label)


def test_the_heat_of_a_class_lies_in_the_time_span_and_the_quadrant_that_show_it(clip_classifier):
    together = []
    for first, *quadrants in itertools.product(range(2), range(4), range(4)):
        clip = noise(3, FRAMES, SIZE, SIZE)
        spans = [SPANS[first], SPANS[1 - first]]
        for label, quadrant in enumerate(quadrants):
            draw(clip, label, QUADRANTS[quadrant], spans[label])
        heat = grad_cam(clip_classifier, clip.expand(2, -1, -1, -1, -1), [0, 1])
        for label, quadrant in enumerate(quadrants):
            assert share(heat[label], spans[label]) > 0.8, (quadrants, label)
            assert share(heat[label], slice(None), *QUADRANTS[quadrant]) > 0.8, (quadrants, label)
            together.append(share(heat[label], spans[label], *QUADRANTS[quadrant]))
    assert sum(together) / len(together) > 0.8


def by_hand(classifier, layer, inputs, label, to_maps=lambda maps: maps):
    """Grad-CAM of one input from its definition, with plain hooks."""
    kept = []
    hook = layer.register_forward_hook(lambda module, _, output: kept.append(output))
    logits = classifier.eval()(inputs)
    hook.remove()
    [gradient] = torch.autograd.grad(logits[0, label], kept[0])
    maps, gradients = to_maps(kept[0])[0], to_maps(gradient)[0]
    places = tuple(range(1, maps.ndim))
    weights = gradients.mean(places, keepdim=True)
    heat = (weights * maps).sum(0).clamp_min(0)[None, None].detach()
    mode = "bilinear" if len(places) == 2 else "trilinear"
    heat = F.interpolate(heat, inputs.shape[2:], mode=mode)[0, 0]
    assert heat.max() > 0
    return heat / heat.max()


def check_by_hand(classifier, layer, inputs, to_maps=lambda maps: maps):
    """Compare with the definition, for the class whose heat has most places."""
    labels = torch.arange(classifier.num_classes)
    heats = grad_cam(classifier, inputs.expand(len(labels), *inputs.shape[1:]), labels)
    label = int(heats.flatten(1).sum(1).argmax())
    expected = by_hand(classifier, layer, inputs, label, to_maps)
    torch.testing.assert_close(heats[label], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("register_tokens", [0, 3])
def test_a_vision_transformer_is_explained_by_its_patch_tokens(register_tokens):
    backbone = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, num_classes=0, depth=2, reg_tokens=register_tokens
    )
    classifier = Classifier(backbone, 5)
    to_maps = lambda tokens: tokens[:, 1 + register_tokens :].transpose(1, 2).unflatten(2, (4, 4))  # noqa: E731
    check_by_hand(classifier, backbone.blocks[-1].norm1, torch.randn(1, 3, 64, 64), to_maps)


def test_a_transformer_over_pictures_that_are_not_square():
    backbone = timm.create_model("vit_tiny_patch16_224", img_size=(64, 32), num_classes=0, depth=1)
    to_maps = lambda tokens: tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 2))  # noqa: E731
    check_by_hand(Classifier(backbone, 3), backbone.blocks[-1].norm1, torch.randn(1, 3, 64, 32), to_maps)


def test_networks_with_channels_last_maps_are_explained():
    backbone = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, window_size=4, num_classes=0, depths=(1, 1),
        embed_dim=24, num_heads=(1, 2),
    )  # fmt: skip
    classifier = Classifier(backbone, 3)
    check_by_hand(classifier, backbone.norm, torch.randn(1, 3, 64, 64), lambda maps: maps.permute(0, 3, 1, 2))


@pytest.mark.parametrize(("name", "layer"), [("small_resnet7", "stage3"), ("resnet18", "layer3")])
def test_a_cnn_is_explained_by_its_last_maps_that_are_not_tiny(name, layer):
    backbone = create_backbone(name)
    classifier, images = Classifier(backbone, 4, **NORM), noise(3, 3, 64, 64)
    assert feature_layer(backbone, torch.zeros(1, 3, 64, 64)) is backbone.get_submodule(layer)
    expected = LayerGradCam(classifier.eval(), backbone.get_submodule(layer)).attribute(
        classifier.normalise(images), target=2, relu_attributions=True
    )
    expected = F.interpolate(expected, (64, 64), mode="bilinear")[:, 0]
    expected = expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-30)
    torch.testing.assert_close(grad_cam(classifier, images, 2), expected.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("convnext_atto", "stages.2"),
        ("efficientnet_b0", "blocks.4"),
        ("mobilenetv3_small_100", "blocks.3"),
        ("regnety_002", "s3"),
        ("tresnet_m", "body.layer3"),
        ("poolformer_s12", "stages.2"),
        ("tsn:efficientnet_b0", "image_backbone.blocks.4"),
    ],
)
def test_blocks_within_a_chain_that_ends_tiny_are_no_stem(name, layer):
    is_video = name.startswith("tsn:")
    backbone = create_video_backbone(name) if is_video else timm.create_model(name, num_classes=0)
    inputs = torch.zeros(1, 3, *((2,) if is_video else ()), 64, 64)
    assert feature_layer(backbone, inputs) is backbone.get_submodule(layer)


@pytest.mark.parametrize("name", ["small_resnet3d", "x3d_xs", "slow_r50_narrow"])
def test_a_3d_network_is_explained_over_time_and_space(name):
    backbone = create_video_backbone(name)
    clips = torch.randn(1, 3, 4, 64, 64)
    layer = feature_layer(backbone, clips)
    assert any(layer is block for block in backbone.blocks)
    check_by_hand(Classifier(backbone, 16), layer, clips)


def test_an_image_network_over_frames_is_explained_over_time_and_space():
    backbone = create_video_backbone("tsn:small_resnet7")
    to_maps = lambda maps: maps.unflatten(0, (1, 5)).transpose(1, 2)  # noqa: E731
    check_by_hand(
        Classifier(backbone, 3), backbone.image_backbone.stage3, torch.randn(1, 3, 5, 32, 32), to_maps
    )


def test_the_domains_name_the_layer():
    images = ImageDomain(32)
    backbone = create_backbone("small_resnet7")
    assert images.cam_layer(backbone) is backbone.stage3
    # Maps that are tiny at the domain's size are not at the size that a model was trained at.
    tiny = ImageDomain(8)
    assert tiny.cam_layer(backbone) is not backbone.stage3
    assert tiny.cam_layer(backbone, tiny.preprocessing(backbone).resized(32)) is backbone.stage3
    transformer = create_backbone("vit_tiny_patch16_224")
    assert ImageDomain().cam_layer(transformer) is transformer.blocks[-1].norm1
    videos = VideoDomain(ClipOptions(frames=4, stride=1, fps=4), image_size=64)
    backbone = create_video_backbone("small_resnet3d")
    assert videos.cam_layer(backbone) is backbone.blocks[-1]


@pytest.mark.parametrize("kind", ["images", "clips"])
def test_a_batch_is_explained_as_each_input_alone(kind, image_classifier, clip_classifier):
    shape = (SIZE, SIZE) if kind == "images" else (FRAMES, SIZE, SIZE)
    classifier = image_classifier if kind == "images" else clip_classifier
    inputs, labels = noise(4, 3, *shape), torch.tensor([0, 1, 1, 0])
    draw(inputs[0], 0, QUADRANTS[0], None if kind == "images" else SPANS[0])
    together = grad_cam(classifier, inputs, labels)
    alone = [grad_cam(classifier, inputs[i : i + 1], labels[i : i + 1]) for i in range(4)]
    assert together.shape == (4, *shape)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)
    assert together.amin() >= 0
    assert together[0].max() == 1


def test_the_classifier_is_left_as_it_was(image_classifier):
    classifier = Classifier(create_backbone("small_resnet7"), 2, **NORM)
    classifier.backbone.stage1.eval()
    classifier.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    modes = [module.training for module in classifier.modules()]
    heat = grad_cam(classifier, noise(2, 3, 32, 32), 1)
    assert not heat.requires_grad
    assert modes == [module.training for module in classifier.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert not any(module._forward_hooks for module in classifier.modules())


def test_a_class_that_nothing_speaks_for_has_no_heat():
    classifier = Classifier(create_backbone("small_resnet7"), 2, **NORM)
    nn.init.zeros_(classifier.head.weight)
    assert not grad_cam(classifier, noise(1, 3, 32, 32), 0).any()


def test_a_layer_can_be_given_by_name_or_as_a_module(image_classifier):
    images, layer = noise(1, 3, SIZE, SIZE), image_classifier.backbone.layers[1]
    by_name = grad_cam(image_classifier, images, 0, layer="layers.1")
    assert torch.equal(by_name, grad_cam(image_classifier, images, 0, layer=layer))
    assert torch.equal(by_name, grad_cam(image_classifier, images, 0, layer="backbone.layers.1"))
    assert not torch.equal(by_name, grad_cam(image_classifier, images, 0))


class Flat(nn.Module):
    num_features = 12

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 12)

    def forward(self, inputs):
        return self.layer(inputs.flatten(1))


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        ([0, 2], {}, LabelError, r"label 2 is outside the 2 classes of this head \(0–1\)"),
        (-1, {}, LabelError, "label -1 is outside"),
        ([0], {}, LabelError, r"labels have shape \(1,\); expected \(2,\)"),
        (torch.tensor([0.0, 1.0]), {}, LabelError, "torch.float32; expected integers"),
        (0, {"layer": "layers.7"}, ConfigError, "no layer 'layers.7'; did you mean layers."),
        (0, {"layer": "zumba"}, ConfigError, "no layer 'zumba'; its parts are layers"),
    ],
)
def test_a_wrong_label_or_layer_is_refused(image_classifier, labels, options, error, message):
    with pytest.raises(error, match=message):
        grad_cam(image_classifier, noise(2, 3, SIZE, SIZE), labels, **options)


def test_a_model_without_places_is_refused():
    flat = Classifier(Flat(), 2)
    with pytest.raises(ConfigError, match="no layer of Flat has an output with more than one place"):
        grad_cam(flat, torch.zeros(1, 3, 2, 2), 0)
    with pytest.raises(ConfigError, match="the layer Linear has no places that Grad-CAM could show"):
        grad_cam(flat, torch.zeros(1, 3, 2, 2), 0, layer="layer")
    with pytest.raises(ConfigError, match=r"inputs have shape \(3, 2, 2\)"):
        grad_cam(flat, torch.zeros(3, 2, 2), 0)


@pytest.mark.parametrize(
    ("output", "inputs", "layout"),
    [
        ((2, 64, 7, 7), (2, 3, 224, 224), MapLayout()),
        ((2, 7, 7, 64), (2, 3, 224, 224), MapLayout(channels_last=True)),
        ((2, 64, 6, 11), (2, 3, 180, 320), MapLayout()),
        ((2, 197, 64), (2, 3, 224, 224), MapLayout(grid=(14, 14), prefix_tokens=1)),
        ((2, 201, 64), (2, 3, 224, 224), MapLayout(grid=(14, 14), prefix_tokens=5)),
        ((2, 196, 64), (2, 3, 224, 224), MapLayout(grid=(14, 14))),
        ((8, 64, 7, 7), (2, 3, 4, 224, 224), MapLayout(frames=4)),
        ((2, 64, 4, 7, 7), (2, 3, 8, 224, 224), MapLayout()),
        ((2, 64, 1, 1), (2, 3, 224, 224), None),
        ((2, 64), (2, 3, 224, 224), None),
        ((3, 64, 7, 7), (2, 3, 224, 224), None),
        ((2, 64, 7, 7), (2, 3, 4, 224, 224), None),
    ],
)
def test_layouts_are_recognised_by_their_shape(output, inputs, layout):
    assert MapLayout.of(output, inputs) == layout
    if layout is not None:
        kept = torch.randn(output)
        assert torch.equal(layout.with_maps(kept, layout.to_maps(kept)), kept)
