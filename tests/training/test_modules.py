from __future__ import annotations

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.classification import MulticlassF1Score

from sublabel.errors import ConfigError, SublabelError
from sublabel.labels import SoftLabels
from sublabel.training import (
    Classifier,
    CrossEntropy,
    FactorisedHead,
    FinetuneModule,
    PretrainModule,
    SampledCrossEntropy,
    _watch,
    sgd,
)
from sublabel.training.modules import make_metric, parameter_groups, top1_share
from tests.training.backbones import Tiny, brightness_data


def trainer(**options):
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    return L.Trainer(accelerator="cpu", **quiet, **options)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "constant"])
def test_training_learns(schedule):
    L.seed_everything(0, verbose=False)
    module = FinetuneModule(
        Tiny(), 2, optimizer=sgd(0.05), schedule=schedule, mean=(0.5,) * 3, std=(0.25,) * 3
    )
    fit = trainer(max_epochs=8)
    fit.fit(module, DataLoader(brightness_data(), batch_size=16, shuffle=True))
    [scores] = fit.test(module, DataLoader(brightness_data(seed=1), batch_size=32), verbose=False)
    assert scores["test/top1"] > 0.95
    assert scores["test/top5"] == 1


@pytest.mark.parametrize(("schedule", "first"), [("cosine", 0.1 / 3), ("one_cycle", 0.004)])
def test_the_schedule_spans_the_run_in_steps(schedule, first):
    module = PretrainModule(Tiny(), 2, schedule=schedule, warmup=0.1)
    rates = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit = trainer(max_epochs=4, callbacks=[Watch()])
    fit.fit(module, DataLoader(brightness_data(), batch_size=16))
    assert len(rates) == 24
    assert rates[0] == pytest.approx(first)
    assert max(rates) == pytest.approx(0.1, rel=0.02)
    assert rates[-1] < 0.002


def test_a_step_equals_plain_pytorch():
    torch.manual_seed(0)
    module = PretrainModule(Tiny(), 5, label_smoothing=0.1, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    inputs, labels = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8), torch.arange(6) % 5
    module.log_dict = lambda *_, **__: None
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    classifier = module.classifier
    logits = classifier.head(classifier.backbone((inputs / 255 - mean) / std))
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels)
    assert module.training_step((inputs, labels), 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_views_are_averaged_as_probabilities():
    torch.manual_seed(0)
    module = FinetuneModule(Tiny(), 4, views=3).eval()
    inputs = torch.rand(5, 3, 3, 8, 8)
    expected = torch.stack([module(inputs[:, view]).softmax(-1) for view in range(3)]).mean(0)
    assert torch.allclose(module.probabilities(inputs), expected, atol=1e-6)


def test_accuracies_equal_a_count_by_hand():
    torch.manual_seed(0)
    module = FinetuneModule(Tiny(), 12).eval()
    inputs, labels = torch.rand(50, 3, 8, 8), torch.randint(0, 12, (50,))
    ranked = module(inputs).argsort(-1, descending=True)
    [scores] = trainer().test(module, DataLoader(TensorDataset(inputs, labels), batch_size=7), verbose=False)
    assert scores["test/top1"] == pytest.approx((ranked[:, 0] == labels).double().mean().item())
    assert scores["test/top5"] == pytest.approx(
        (ranked[:, :5] == labels[:, None]).any(1).double().mean().item()
    )


def test_a_foreign_loop_needs_no_trainer():
    torch.manual_seed(0)
    classifier = Classifier(Tiny(), 2, mean=(0.5,) * 3, std=(0.25,) * 3)
    optimizer = sgd(0.05)(parameter_groups(classifier))
    inputs, labels = brightness_data().tensors
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(classifier(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_norms_and_biases_do_not_decay():
    groups = parameter_groups(Classifier(Tiny(), 2))
    optimizer = sgd(0.1, weight_decay=0.01)(groups)
    decays = {
        parameter.ndim > 1: group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays == {True: 0.01, False: 0.0}
    assert sum(len(group["params"]) for group in groups) == len(list(Classifier(Tiny(), 2).parameters()))


def test_channels_last_changes_the_layout_and_not_the_result():
    torch.manual_seed(0)
    module = PretrainModule(Tiny(), 3).eval()
    inputs = torch.rand(4, 3, 8, 8)
    before = module(inputs)
    module.configure_model()
    weight = module.classifier.backbone.convolution.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(module(inputs), before, atol=1e-6)


def test_the_same_seed_gives_the_same_weights():
    def weights():
        L.seed_everything(3, verbose=False)
        module = PretrainModule(Tiny(), 2)
        trainer(max_epochs=2).fit(module, DataLoader(brightness_data(), batch_size=16, shuffle=True))
        return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])

    assert (weights() == weights()).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classifier(nn.Identity(), 3), "Identity has no integer `num_features`"),
        (lambda: Classifier(Tiny(), 0), "num_classes is 0"),
        (lambda: Classifier(Tiny(), 2, mean=(0.5,) * 3), "both mean and std"),
        (lambda: PretrainModule(Tiny(), 2, schedule="linear"), "schedule is 'linear'"),
        (lambda: PretrainModule(Tiny(), 2, warmup=1.0), "warmup is 1.0"),
        (lambda: PretrainModule(Tiny(), 2, label_smoothing=1.0), "label_smoothing is 1.0"),
        (lambda: PretrainModule(Tiny(), 9, sampled_classes=0), "sampled_classes is 0"),
        (lambda: PretrainModule(Tiny(), (9, 9), sampled_classes=5), "sampled softmax .* is for one head"),
        (lambda: PretrainModule(Tiny(), 9, sampled_classes=5, label_smoothing=0.1), "use one of the two"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_pretraining_reports_its_validation_loss():
    module = PretrainModule(Tiny(), 2, label_smoothing=0.3)
    held_out = brightness_data(32, seed=1)
    [scores] = trainer().validate(module, DataLoader(held_out, batch_size=8), verbose=False)
    inputs, labels = held_out.tensors
    with torch.inference_mode():
        expected = nn.functional.cross_entropy(module.eval()(inputs), labels)
    assert scores["val/loss"] == pytest.approx(float(expected), rel=1e-5)


class Pairs(Dataset):
    """Brightness with other targets than its label."""

    def __init__(self, target):
        self.inputs, self.labels = brightness_data().tensors
        self.target = target

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.target(int(self.labels[index]))


def trained(target, num_classes, **options):
    L.seed_everything(0, verbose=False)
    module = PretrainModule(
        Tiny(), num_classes, optimizer=sgd(0.05), mean=(0.5,) * 3, std=(0.25,) * 3, **options
    )
    trainer(max_epochs=8).fit(module, DataLoader(Pairs(target), batch_size=16, shuffle=True))
    return module.eval(), module(brightness_data().tensors[0])


def test_soft_labels_are_learned_as_probabilities():
    soft = [
        SoftLabels(torch.tensor([0, 2]), torch.tensor([0.75, 0.25])),
        SoftLabels(torch.tensor([1, 1]), torch.tensor([1.0, 0.0])),
    ]
    module, logits = trained(lambda label: soft[label], 3)
    labels = brightness_data().tensors[1]
    means = [logits.softmax(-1)[labels == label].mean(0) for label in (0, 1)]
    assert means[0][0] > 0.5
    assert 0.12 < means[0][2] < 0.4
    assert means[1][1] > 0.7
    loader = DataLoader(Pairs(lambda label: soft[label]), batch_size=16)
    [scores] = trainer().validate(module, loader, verbose=False)
    assert scores["val/loss"] < 0.9


def test_two_heads_learn_both_labels():
    module, logits = trained(lambda label: torch.tensor([label, 2 - label]), (2, 3))
    labels = brightness_data().tensors[1]
    weak, teacher = logits.split(module.heads, -1)
    assert logits.shape == (96, 5)
    assert (weak.argmax(-1) == labels).float().mean() > 0.95
    assert (teacher.argmax(-1) == 2 - labels).float().mean() > 0.95


def test_sampled_softmax_over_a_factorised_head_learns():
    cells = torch.arange(60)

    def head(width):
        return FactorisedHead(width, cells // 6, cells % 6, rank=2)

    _, logits = trained(lambda label: 7 + 40 * label, 60, head=head, sampled_classes=8)
    assert (logits.argmax(-1) == 7 + 40 * brightness_data().tensors[1]).float().mean() > 0.95


def test_classes_are_sampled_where_there_are_more():
    assert PretrainModule(Tiny(), 9, sampled_classes=8).objective == SampledCrossEntropy(9, 8)
    assert PretrainModule(Tiny(), 8, sampled_classes=8).objective == CrossEntropy((8,))


@pytest.mark.parametrize("looks_at_once", [True, False])
def test_a_loss_that_is_not_finite_ends_the_training_and_names_the_step(monkeypatch, looks_at_once):
    # On another device than the CPU it is found at the end of the epoch, or after 100 steps.
    monkeypatch.setattr(_watch, "WAITLESS", ("cpu",) if looks_at_once else ())
    module = PretrainModule(Tiny(), 2)
    steps, objective = [], module.objective

    def broken(head, features, targets):
        steps.append(len(steps))
        return objective(head, features, targets) * (torch.nan if len(steps) == 4 else 1)

    module.objective = broken
    with pytest.raises(SublabelError, match="the loss of step 3 is not finite .precision '32-true'."):
        trainer(max_epochs=2).fit(module, DataLoader(brightness_data(), batch_size=16))
    assert len(steps) == (4 if looks_at_once else 6)


def test_another_number_of_views_is_refused():
    module = FinetuneModule(Tiny(), 2, views=2)
    with pytest.raises(ConfigError, match=r"shape \(4, 3, 8, 8\); expected \(B, 2, C, …\)"):
        module.probabilities(torch.zeros(4, 3, 8, 8))


def test_metrics_of_torchmetrics_go_by_their_names():
    torch.manual_seed(0)
    probabilities, labels = torch.rand(40, 6).softmax(-1), torch.randint(0, 6, (40,))
    ours, theirs = make_metric("MulticlassF1Score", 6), MulticlassF1Score(6)
    assert ours(probabilities, labels) == theirs(probabilities, labels)
    top3 = (probabilities.topk(3).indices == labels[:, None]).any(1).float().mean()
    assert make_metric("top3", 6)(probabilities, labels) == pytest.approx(float(top3))
    assert make_metric("top9", 6)(probabilities, labels) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("top0", "there is no metric 'top0'"),
        ("accuracy", "there is no metric 'accuracy'"),
        ("BinaryAccuracy", "there is no metric 'BinaryAccuracy'"),
        ("MulticlassConfusionMatrix", "'MulticlassConfusionMatrix' is more than one number"),
        ("MulticlassROC", "'MulticlassROC' is more than one number"),
        ("MulticlassFBetaScore", "'MulticlassFBetaScore' cannot be made for 4 classes"),
    ],
)
def test_a_metric_that_is_no_single_number_is_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        make_metric(name, 4)


def test_a_share_of_labels_is_a_count_by_hand_whatever_the_targets():
    torch.manual_seed(0)
    logits = torch.randn(40, 7)
    labels = torch.randint(-1, 7, (40,))
    expected = np.mean(
        [row.argmax() == label for row, label in zip(logits, labels, strict=True) if label >= 0]
    )
    assert top1_share(logits, labels, (7,)) == pytest.approx(expected)
    ids = torch.stack([labels.clamp(min=0), torch.full((40,), 3)], dim=-1)
    weights = torch.tensor([0.75, 0.25]) * (labels >= 0)[:, None]
    assert top1_share(logits, SoftLabels(ids, weights), (7,)) == pytest.approx(expected)
    pairs = torch.stack([torch.randint(0, 3, (40,)), torch.randint(0, 4, (40,))], dim=-1)
    heads = zip(logits.split((3, 4), -1), pairs.unbind(-1), strict=True)
    both = np.mean([(part.argmax(-1) == labels).double().mean() for part, labels in heads])
    assert top1_share(logits, pairs, (3, 4)) == pytest.approx(both)
    assert top1_share(logits, torch.full((40,), -1), (7,)) == 0
