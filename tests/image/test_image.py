from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch.nn.functional import interpolate

from sublabel.errors import ArtifactError, ConfigError, MediaError
from sublabel.media.domain import Preprocessing
from sublabel_image import AUGMENTATIONS, ImageDomain, create_backbone, read_image

SHARED = Path(__file__).parents[3] / "shared/data"


def encode(pixels, mode=None, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, **{"format": "PNG", **options})
    return buffer.getvalue()


RGB = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def test_bytes_files_and_urls_decode_alike(tmp_path):
    (tmp_path / "a b.png").write_bytes(encode(RGB))
    for row in (
        {"image": encode(RGB), "uri": "/nowhere"},
        {"image": None, "uri": str(tmp_path / "a b.png")},
        {"uri": f"file://{tmp_path}/a b.png"},
    ):
        tensor = read_image(row)
        assert tensor.dtype == torch.uint8
        assert (tensor.permute(1, 2, 0).numpy() == RGB).all()


def test_fsspec_urls_are_read():
    import fsspec

    with fsspec.open("memory://bucket/x.png", "wb") as file:
        file.write(encode(RGB))
    assert read_image({"uri": "memory://bucket/x.png"}).shape == (3, 6, 4)


def test_grey_palette_and_transparent_images_become_rgb():
    grey = read_image({"image": encode(RGB[..., 0])})
    assert (grey == torch.from_numpy(RGB[..., 0])).all()
    clear = np.concatenate([RGB, np.zeros((6, 4, 1), np.uint8)], axis=-1)
    assert (read_image({"image": encode(clear)}) == 255).all()
    palette = io.BytesIO()
    Image.fromarray(RGB).quantize(4).save(palette, format="PNG")
    assert read_image({"image": palette.getvalue()}).shape == (3, 6, 4)


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_image({"image": encode(RGB, exif=exif)})
    assert (turned.permute(1, 2, 0).numpy() == np.rot90(RGB, -1)).all()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"image": b"hello"}, "unreadable: not an image"),
        (
            {"image": encode(RGB.repeat(40, 0).repeat(40, 1), format="JPEG")[:300]},
            "unreadable: .*[Tt]runcated",
        ),
        ({"uri": "/nowhere/x.png"}, "missing: no such file"),
        ({"image": None, "uri": None}, "missing: the row has neither"),
        ({"uri": "nosuchscheme://x"}, "missing: ValueError"),
    ],
)
def test_what_cannot_be_read_says_why(row, reason):
    with pytest.raises(MediaError, match=reason) as caught:
        read_image(row)
    assert "0x" not in caught.value.reason


@pytest.mark.parametrize(
    "name", ["small_resnet7", "resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224"]
)
def test_any_timm_model_is_a_backbone(name):
    backbone = create_backbone(name).eval()
    size = timm.get_pretrained_cfg(name).input_size if name != "small_resnet7" else (3, 32, 32)
    with torch.no_grad():
        assert backbone(torch.rand(2, *size)).shape == (2, backbone.num_features)


def test_the_small_network_keeps_its_size():
    backbone = create_backbone("small_resnet7")
    assert sum(parameter.numel() for parameter in backbone.parameters()) < 450_000
    assert backbone.forward_features(torch.rand(1, 3, 32, 32)).shape == (1, 128, 4, 4)


def test_an_unknown_backbone_is_answered_with_similar_names():
    with pytest.raises(ConfigError, match="timm has no model 'resnet19'; did you mean .*resnet"):
        create_backbone("resnet19")


def test_a_weights_file_loads_and_another_one_is_refused(tmp_path):
    from safetensors.torch import save_file

    state = timm.create_model("resnet10t").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    backbone = create_backbone("resnet10t", weights=tmp_path / "w.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.state_dict().items())
    with pytest.raises(ArtifactError, match="does not fit timm's resnet18"):
        create_backbone("resnet18", weights=tmp_path / "w.safetensors")
    with pytest.raises(ArtifactError, match="there is no weights file"):
        create_backbone("resnet18", weights=tmp_path / "nothing")


def test_preprocessing_is_timms_at_the_wanted_size():
    backbone = create_backbone("resnet18")
    config = timm.data.resolve_model_data_config(backbone)
    wanted = ImageDomain().preprocessing(backbone)
    assert (wanted.input_size, wanted.mean, wanted.std) == (
        config["input_size"],
        config["mean"],
        config["std"],
    )
    assert ImageDomain(96).preprocessing(backbone).input_size == (3, 96, 96)


def test_the_evaluation_transform_equals_timms():
    backbone = create_backbone("resnet18")
    config = timm.data.resolve_model_data_config(backbone)
    theirs = timm.data.create_transform(**config, is_training=False)
    generator = np.random.default_rng(0)
    coarse = torch.from_numpy(generator.integers(0, 256, (1, 3, 10, 14), dtype=np.uint8)).float()
    image = interpolate(coarse, (300, 420), mode="bilinear")[0].byte()
    domain = ImageDomain()
    wanted = domain.preprocessing(backbone)
    ours = domain.evaluation_transform(wanted)(image) / 255
    ours = (ours - torch.tensor(wanted.mean).view(3, 1, 1)) / torch.tensor(wanted.std).view(3, 1, 1)
    # Pillow and torchvision round the resized pixels differently, by a grey value or two.
    reference = theirs(Image.fromarray(image.permute(1, 2, 0).numpy()))
    assert (ours - reference).abs().max() < 3 / 255 / min(wanted.std)


@pytest.mark.parametrize("augmentation", ["none", None, *AUGMENTATIONS])
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 50, 41), (3, 8, 8)])
def test_every_transform_gives_uint8_of_the_input_size(augmentation, shape):
    wanted = Preprocessing(input_size=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    domain = ImageDomain()
    if augmentation == "none":
        out = domain.evaluation_transform(wanted)(image)
    else:
        out = domain.training_transform(wanted, augmentation)(image)
    assert out.dtype == torch.uint8
    assert out.shape == (3, 32, 32)


def test_shift_never_mirrors():
    wanted = Preprocessing(input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    ramp = torch.arange(16, dtype=torch.uint8).mul(10).expand(3, 16, 16) + 50
    shift = ImageDomain().training_transform(wanted, "shift")
    for _ in range(30):
        row = shift(ramp.clone())[0, 8].int()
        inside = row[row > 0]
        assert (inside.diff() > 0).all()


def test_an_unknown_augmentation_is_refused():
    wanted = Preprocessing(input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    with pytest.raises(ConfigError, match="no augmentation is called 'blur'; there are resized_crop_flip"):
        ImageDomain().training_transform(wanted, "blur")


@pytest.mark.skipif(not (SHARED / "weights").exists(), reason="no shared weights")
def test_real_imagenet_weights_load_from_a_file():
    path = SHARED / "weights/tf_efficientnet_lite0.safetensors"
    backbone = create_backbone("tf_efficientnet_lite0", weights=path).eval()
    reference = timm.create_model(
        "tf_efficientnet_lite0", pretrained=True, pretrained_cfg_overlay={"file": str(path)}, num_classes=0
    ).eval()
    inputs = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(backbone(inputs), reference(inputs))
