from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from sublabel.errors import ArtifactError, ConfigError
from sublabel.training import (
    Classifier,
    FactorisedHead,
    ModelCard,
    load_model,
    read_card,
    save_model,
    warm_start,
)
from sublabel_image import ImageDomain
from sublabel_image.backbones import SmallResNet


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    domain = ImageDomain()
    backbone = domain.create_backbone("small_resnet7")
    wanted = domain.preprocessing(backbone)
    classifier = Classifier(backbone, 3, mean=wanted.mean, std=wanted.std)
    # One step of training mode moves the batch-norm statistics off their defaults.
    classifier(torch.rand(8, 3, 32, 32))
    return classifier.eval()


@pytest.fixture
def saved(classifier, tmp_path):
    domain = ImageDomain()
    card = ModelCard(
        domain="image",
        backbone="small_resnet7",
        classes=("a", "b", "c"),
        preprocessing=domain.preprocessing(classifier.backbone),
        fingerprints={"label_space": "f00d"},
    )
    save_model(tmp_path / "model", classifier, card)
    return tmp_path / "model"


def test_a_loaded_model_predicts_the_same_to_the_last_bit(saved, classifier):
    loaded, card = load_model(saved)
    inputs = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    assert (loaded(inputs) - classifier(inputs)).abs().max().item() == 0
    assert card.classes == ("a", "b", "c")
    assert set(card.fingerprints) == {"label_space", "weights", "vocabulary"}
    assert "torch" in card.made_by["versions"]
    assert sorted(path.name for path in saved.iterdir()) == ["card.json", "model.safetensors"]


def test_a_warm_start_drops_the_head_and_loads_all_else(saved, classifier):
    fresh = ImageDomain().create_backbone("small_resnet7")
    report = warm_start(fresh, saved)
    assert report.dropped == ("head.bias", "head.weight")
    assert set(report.loaded) == set(fresh.state_dict())
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), {})
    assert all(torch.equal(a, b) for a, b in zip(
        fresh.state_dict().values(), classifier.backbone.state_dict().values(), strict=True
    ))  # fmt: skip


def test_a_factorised_head_is_saved_loaded_and_dropped(tmp_path):
    domain, cells = ImageDomain(), torch.arange(6)
    backbone = domain.create_backbone("small_resnet7")
    classifier = Classifier(backbone, 6, head=lambda width: FactorisedHead(width, cells // 3, cells % 3, 2))
    torch.nn.init.normal_(classifier.head.up.weight)
    card = ModelCard(
        domain="image",
        backbone="small_resnet7",
        classes=tuple("abcdef"),
        preprocessing=domain.preprocessing(backbone),
    )
    save_model(tmp_path, classifier.eval(), card)
    inputs = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_model(tmp_path).classifier(inputs), classifier(inputs))
    report = warm_start(domain.create_backbone("small_resnet7"), tmp_path)
    assert set(report.dropped) == {name for name in classifier.state_dict() if name.startswith("head.")}
    assert len(report.dropped) == 7


def wider():
    return SmallResNet((8, 32, 64, 160), num_classes=0)


def test_a_warm_start_that_does_not_fit_is_refused_and_changes_nothing(saved):
    other = wider()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    message = (
        r"of another shape \(stage3.*: \(128, 64, 3, 3\) in the weights, \(160, 64, 3, 3\) in the backbone"
    )
    with pytest.raises(ArtifactError, match=message):
        warm_start(other, saved)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())
    with pytest.raises(ArtifactError, match=r"\d+ missing \(.*\d+ unexpected \("):
        warm_start(ImageDomain().create_backbone("resnet10t"), saved)


def test_a_loose_warm_start_reports_what_it_left(saved):
    other = wider()
    report = warm_start(other, saved, strict=False)
    assert report.mismatched["stage3.0.0.weight"] == ((128, 64, 3, 3), (160, 64, 3, 3))
    assert "stem.0.weight" in report.loaded
    assert set(report.loaded) | set(report.missing) | set(report.mismatched) == set(other.state_dict())


def test_plain_weights_files_and_state_dicts_warm_start_too(classifier, tmp_path):
    state = classifier.backbone.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    for weights in (tmp_path / "w.safetensors", state):
        report = warm_start(ImageDomain().create_backbone("small_resnet7"), weights)
        assert len(report.loaded) == len(state)
        assert report.dropped == ()


def test_changed_weights_are_refused(saved):
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="the file was changed or belongs to another card"):
        load_model(saved)


@pytest.mark.parametrize("content", ["{", "{}", '{"domain": "image"}'])
def test_a_damaged_card_is_refused(saved, content):
    (saved / "card.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match="is not a model card"):
        read_card(saved)


def test_what_is_missing_is_named(saved, tmp_path):
    with pytest.raises(ArtifactError, match="holds no card.json"):
        load_model(tmp_path)
    (saved / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="there is no weights file"):
        load_model(saved)
    (tmp_path / "w.safetensors").write_bytes(b"pickle?")
    with pytest.raises(ArtifactError, match="is not a safetensors file"):
        warm_start(ImageDomain().create_backbone("small_resnet7"), tmp_path / "w.safetensors")


def test_a_domain_that_is_not_installed_is_named(saved):
    card = json.loads((saved / "card.json").read_text(encoding="utf-8"))
    (saved / "card.json").write_text(json.dumps({**card, "domain": "smell"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="no domain is called 'smell': installed are image"):
        load_model(saved)


def test_the_card_must_name_every_class(classifier, saved, tmp_path):
    card = read_card(saved).model_copy(update={"classes": ("a", "b")})
    with pytest.raises(ArtifactError, match="the head has 3 classes and the card names 2"):
        save_model(tmp_path / "x", classifier, card)
