from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import nn
from torch.utils.data import TensorDataset

from sublabel.errors import ConfigError, LabelError
from sublabel.media.domain import Preprocessing
from sublabel.options import ProbeOptions, RunOptions
from sublabel.teacher import predict
from sublabel.training import LabeledFeatures, extract_features, fit_probe, probe
from sublabel.training.classifier import Classifier

CLASSES = 3


def samples(number, seed=0, width=12):
    """Features of very different scales and offsets, with labels that they tell in part."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, number)
    centres = np.random.default_rng(99).normal(size=(CLASSES, width))
    features = centres[labels] + 1.5 * generator.normal(size=(number, width))
    scales = np.logspace(-3, 3, width)
    return LabeledFeatures((features * scales + 5 * scales).astype(np.float32), labels)


def by_sklearn(train, l2):
    """The same model: sklearn's C weighs the summed loss against half the squared weights."""
    mean, deviation = train.features.astype(float).mean(0), train.features.astype(float).std(0)
    model = LogisticRegression(C=1 / (l2 * len(train.labels)), max_iter=5000, tol=1e-8)
    model.fit((train.features - mean) / deviation, train.labels)
    return lambda features: model.predict_proba((features - mean) / deviation)


def probabilities(head, features):
    logits = torch.from_numpy(features).double() @ head.weight.T + head.bias
    return logits.softmax(1).numpy()


@pytest.mark.parametrize("l2", [0.003, 0.1, 3.0])
def test_the_fit_is_sklearns_on_standardised_features(l2):
    train, new = samples(90), samples(40, seed=1)
    head, _ = fit_probe(train, CLASSES, ProbeOptions(l2=(l2,)))
    np.testing.assert_allclose(
        probabilities(head, new.features), by_sklearn(train, l2)(new.features), atol=1e-4
    )


def test_held_out_samples_choose_the_penalty_by_their_loss():
    train, val = samples(60), samples(300, seed=1)
    options = ProbeOptions(l2=(0.001, 0.01, 0.1, 1.0))
    head, losses = fit_probe(train, CLASSES, options, val=val)
    expected = {l2: log_loss(val.labels, by_sklearn(train, l2)(val.features)) for l2 in options.l2}
    assert losses == pytest.approx(expected, abs=3e-3)
    best = min(expected, key=expected.get)
    np.testing.assert_allclose(
        probabilities(head, val.features), by_sklearn(train, best)(val.features), atol=1e-4
    )


def test_without_held_out_samples_cross_validation_chooses():
    # As many of each class, in turn: sklearn's folds are then the same ones.
    data = samples(400)
    order = np.concatenate([np.flatnonzero(data.labels == label)[:100] for label in range(CLASSES)])
    order = order.reshape(CLASSES, 100).T.ravel()
    train = LabeledFeatures(data.features[order], data.labels[order])
    fold = np.arange(300) // CLASSES % 5
    expected = {}
    for l2 in (0.01, 0.1, 1.0):
        of_fold = [
            log_loss(
                train.labels[fold == k], by_sklearn(part(train, fold != k), l2)(train.features[fold == k])
            )
            for k in range(5)
        ]
        expected[l2] = np.mean(of_fold)
    _, losses = fit_probe(train, CLASSES, ProbeOptions(l2=(0.01, 0.1, 1.0)))
    assert losses == pytest.approx(expected, abs=3e-3)


def part(data, chosen):
    return LabeledFeatures(data.features[chosen], data.labels[chosen])


def test_a_class_of_one_sample_is_learned_too():
    data = samples(40)
    lone = LabeledFeatures(
        np.concatenate([data.features, 100 * data.features[:1]]), np.append(data.labels, CLASSES)
    )
    head, losses = fit_probe(lone, CLASSES + 1)
    assert np.isfinite(list(losses.values())).all()
    assert probabilities(head, lone.features)[-1].argmax() == CLASSES


def test_a_feature_that_never_varies_does_no_harm():
    data = samples(60)
    constant = LabeledFeatures(np.hstack([data.features, np.full((60, 1), 7.0, np.float32)]), data.labels)
    heads = [fit_probe(given, CLASSES, ProbeOptions(l2=(0.1,)))[0] for given in (data, constant)]
    np.testing.assert_allclose(
        probabilities(heads[0], data.features), probabilities(heads[1], constant.features), atol=1e-5
    )


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(LabelError, match="a sample has the label 2, and there are 2 classes"):
        fit_probe(samples(30), 2)


class Halves(nn.Module):
    """Means of both halves of an image, with dropout and batch norm, which a frozen backbone must not use."""

    num_features = 2

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs):
        left, right = inputs.chunk(2, -1)
        return self.dropout(self.norm(torch.stack([left.mean((1, 2, 3)), right.mean((1, 2, 3))], 1)))


PREPROCESSING = Preprocessing(input_size=(3, 4, 4), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def images():
    pixels = torch.randint(
        0, 256, (60, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    left = pixels[..., :2].float().mean((1, 2, 3))
    return TensorDataset(pixels, torch.bucketize(left, torch.tensor([115.0, 140.0])))


def test_the_probe_is_a_model_like_any_other():
    data, backbone, classes = images(), Halves(), ["dark", "middle", "bright"]
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    model = probe(backbone, data, classes=classes, preprocessing=PREPROCESSING, precision="32-true")
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    # By hand: normalised pixels, frozen batch norm, sklearn.
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (PREPROCESSING.mean, PREPROCESSING.std))
    scaled = (data.tensors[0].float() / 255 - mean) / std
    features = LabeledFeatures(Halves().eval()(scaled).detach().numpy(), data.tensors[1].numpy())
    chosen = min(model.log, key=lambda entry: entry["val/loss"])["l2"]
    expected = by_sklearn(features, chosen)(features.features)
    found = predict(model, data)
    assert np.mean(found.ids[:, 0] == features.labels) > 0.85
    assert np.mean(found.ids[:, 0] == expected.argmax(1)) == 1
    np.testing.assert_allclose(found.probabilities, -np.sort(-expected), atol=1e-3)
    assert list(model.vocabulary) == classes


def test_features_keep_the_order_of_the_samples_whatever_the_batches():
    data, classifier = images(), Classifier(Halves(), 2, mean=PREPROCESSING.mean, std=PREPROCESSING.std)
    whole, parts = (
        extract_features(classifier, data, precision="32-true", run=RunOptions(eval_batch_size=size))
        for size in (100, 7)
    )
    np.testing.assert_allclose(whole.features, parts.features, atol=1e-6)
    assert whole.labels.tolist() == parts.labels.tolist() == data.tensors[1].tolist()


def test_no_samples_are_refused():
    with pytest.raises(ConfigError, match="no samples"):
        probe(Halves(), TensorDataset(torch.zeros(0, 3, 4, 4), torch.zeros(0)), classes=["a"])
