from __future__ import annotations

import logging

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sublabel as sl
from sublabel.errors import ArtifactError, ConfigError, LabelError
from sublabel.media import Preprocessing
from sublabel.teacher import predict
from sublabel.training import (
    Classifier,
    FactorisedHead,
    FinetuneModule,
    LabeledDataset,
    PretrainModule,
    RunOptions,
    TrainOptions,
    finetune,
    head_factory,
    load_model,
    pretrain,
    sgd,
)
from sublabel.training import test as measure
from sublabel_image import ImageDomain
from tests.training.backbones import Tiny, brightness_data

NAMES = ["dark", "bright"]
FAST = TrainOptions(epochs=8, batch_size=16, learning_rate=0.05)
ONE = TrainOptions(epochs=1, batch_size=16, learning_rate=0.05)
WANTED = Preprocessing(input_size=(3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


class Named(TensorDataset):
    """Data that know their classes, as torchvision's do."""

    classes = NAMES


def named(samples=96, seed=0):
    return Named(*brightness_data(samples, seed).tensors)


def inputs_of(dataset):
    """The media alone, without labels."""
    return dataset.tensors[0]


def users_own(**options):
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    return L.Trainer(accelerator="cpu", **quiet, **options)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.classifier.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def trained():
    return finetune(Tiny(), named(), FAST, preprocessing=WANTED, seed=0)


def test_the_method_is_a_page_of_calls(tmp_path):
    options = {"preprocessing": WANTED, "seed": 0}
    target_train, target_test, weak = named(), named(64, seed=1), brightness_data(160, seed=2)
    teacher = finetune(Tiny(), target_train, FAST, **options)
    predictions = predict(teacher, weak)
    # The weak labels are wrong for every fifth sample.
    noisy = np.where(np.arange(160) % 5 == 0, 1 - weak.tensors[1].numpy(), weak.tensors[1].numpy())
    pairs = sl.Pairs(noisy, predictions, weak_vocabulary=NAMES, teacher_vocabulary=teacher.vocabulary)
    space = sl.RawSPL().fit(sl.count(pairs))
    student = pretrain(Tiny(), inputs_of(weak), space.targets(pairs), FAST, classes=space.names, **options)
    tuned = finetune(student, target_train, FAST, **options)
    metrics = measure(tuned, target_test).metrics
    assert student.classes == space.names
    assert student.steps == 8 * (160 // 16)
    assert tuned.classes == teacher.classes == tuple(NAMES)
    assert metrics.keys() == {"top1", "top5"}
    assert metrics["top1"] > 0.95
    assert metrics["top5"] == 1
    assert tuned.warm_start.dropped == ("head.bias", "head.weight")
    assert "tensors loaded" in str(tuned.warm_start)


def test_a_stage_is_the_loop_that_one_would_write():
    L.seed_everything(3, verbose=False)
    module = FinetuneModule(Tiny(), 2, optimizer=sgd(0.05), mean=WANTED.mean, std=WANTED.std)
    users_own(max_epochs=2).fit(module, DataLoader(named(), batch_size=16, shuffle=True, drop_last=True))
    L.seed_everything(3, verbose=False)
    trainer = users_own(max_epochs=2)
    model = finetune(Tiny(), named(), ONE, preprocessing=WANTED, trainer=trainer)
    assert same(weights(model), module.classifier.state_dict())
    assert (model.steps, len(model.log)) == (12, 2)


def test_the_same_seed_gives_the_same_weights():
    def made(seed):
        torch.manual_seed(9)
        return weights(finetune(Tiny(), named(), ONE, seed=seed, preprocessing=WANTED))

    assert same(made(3), made(3))
    assert not same(made(3), made(4))


def test_accuracies_are_a_count_by_hand(trained):
    data = named(50, seed=3)
    with torch.inference_mode():
        found = trained.classifier(data.tensors[0]).argmax(-1)
    expected = (found == data.tensors[1]).double().mean().item()
    scores = measure(
        trained, data, metrics=("top1", "MulticlassF1Score"), run=RunOptions(eval_batch_size=7)
    ).metrics
    assert scores.keys() == {"top1", "MulticlassF1Score"}
    assert scores["top1"] == pytest.approx(expected)
    assert measure(trained.classifier, data, metrics=("top1",)).metrics["top1"] == pytest.approx(expected)


def test_each_sample_has_its_prediction_whatever_the_batches(trained):
    data = named(50, seed=3)
    with torch.inference_mode():
        expected = trained.classifier(data.tensors[0]).argmax(-1).numpy()
    found = measure(trained, data, run=RunOptions(eval_batch_size=7))
    assert found.samples.tolist() == list(range(50))
    assert (found.predicted == expected).all()
    assert (found.correct == (expected == data.tensors[1].numpy())).all()
    assert found.correct.mean() == pytest.approx(found.metrics["top1"])
    few = measure(trained, data, trainer=users_own(limit_test_batches=1), run=RunOptions(eval_batch_size=7))
    assert few.samples.tolist() == list(range(7))
    assert (few.predicted == expected[:7]).all()


def test_the_log_has_the_share_of_its_own_labels_that_a_model_is_right_on(trained):
    assert trained.log[-1]["train/top1"] > 0.9
    drawn = np.random.default_rng(0).integers(0, 4, 96)
    unlearnable = pretrain(Tiny(), inputs_of(brightness_data()), drawn, ONE, seed=0)
    assert unlearnable.log[-1]["train/top1"] < 0.5
    sampled = pretrain(Tiny(), inputs_of(brightness_data(32)), np.arange(32), ONE, sampled_classes=3)
    assert "train/top1" not in sampled.log[-1]


def test_views_of_a_sample_are_tested_together(trained):
    inputs, labels = named(20, seed=3).tensors
    views = torch.stack([inputs, inputs.flip(-1)], dim=1)
    with torch.inference_mode():
        both = torch.stack([trained.classifier(views[:, view]).softmax(-1) for view in (0, 1)]).mean(0)
    expected = (both.argmax(-1) == labels).double().mean().item()
    assert measure(trained, TensorDataset(views, labels), views=2).metrics["top1"] == pytest.approx(expected)
    with pytest.raises(ConfigError, match="as views is 3"):
        measure(trained, TensorDataset(views, labels), views=3)


def test_validation_is_in_the_log_and_changes_no_weight():
    def made(**val):
        torch.manual_seed(9)
        return finetune(Tiny(), named(), FAST.model_copy(update={"epochs": 2}), seed=0, **val)

    without, model = made(), made(val=named(32, seed=1))
    assert [sorted(entry) for entry in without.log] == [["epoch", "step", "train/loss", "train/top1"]] * 2
    assert [(entry["epoch"], entry["step"]) for entry in model.log] == [(0, 6), (1, 12)]
    assert model.log[-1]["val/top1"] == pytest.approx(measure(model, named(32, seed=1)).metrics["top1"])
    assert same(weights(without), weights(model))


def test_steps_are_a_length_whatever_the_number_of_samples():
    for samples in (32, 96):
        options = TrainOptions(steps=7, batch_size=16)
        assert finetune(Tiny(), named(samples), options).steps == 7


def test_gradients_are_clipped_where_that_is_asked_for(monkeypatch):
    clipped = []
    monkeypatch.setattr(
        PretrainModule,
        "configure_gradient_clipping",
        lambda self, optimizer, gradient_clip_val=None, **_: clipped.append(gradient_clip_val),
    )
    finetune(Tiny(), named(), ONE.model_copy(update={"gradient_clip": 0.5}))
    assert set(clipped) == {0.5}


def test_warm_up_is_the_share_of_steps_that_the_options_say():
    class Watch(L.Callback):
        def __init__(self):
            self.rates = []

        def on_train_batch_start(self, trainer, *_):
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    watch = Watch()
    options = TrainOptions(epochs=2, batch_size=16, learning_rate=0.1, warmup=0.5)
    finetune(Tiny(), named(), options, run=RunOptions(trainer={"callbacks": [watch]}))
    assert np.argmax(watch.rates) == 6
    assert watch.rates[0] == pytest.approx(0.1 / 7)


def test_a_finished_model_is_copied_and_a_fresh_backbone_is_trained_in_place(trained):
    before, backbone = weights(trained), Tiny()
    fresh = finetune(backbone, named(), ONE)
    assert fresh.classifier.backbone is backbone
    for model in (trained, trained.classifier):
        tuned = finetune(model, named(), ONE)
        assert tuned.classifier.backbone is not trained.classifier.backbone
        assert tuned.warm_start.missing == tuned.warm_start.unexpected == ()
    assert same(before, weights(trained))
    assert finetune(trained, named(), ONE).preprocessing == WANTED


def test_a_model_goes_on_in_training_mode(trained):
    assert not trained.classifier.training
    statistics = trained.classifier.backbone.norm.running_mean
    tuned = finetune(trained, named(), ONE)
    assert not torch.equal(tuned.classifier.backbone.norm.running_mean, statistics)
    assert not tuned.classifier.training


def test_inputs_without_a_target_are_left_out(trained):
    weak = brightness_data(96)
    targets = np.where(np.arange(96) < 40, weak.tensors[1].numpy(), -1)
    model = pretrain(Tiny(), weak, targets, ONE)
    assert model.steps == 40 // 16
    assert model.classes == ("0", "1")


def test_plain_labels_have_the_outputs_that_are_named():
    weak = brightness_data(32)
    model = pretrain(Tiny(), weak, weak.tensors[1].numpy(), ONE, classes=["dark", "bright", "unseen"])
    assert model.classes == ("dark", "bright", "unseen")
    assert model.classifier.num_classes == 3


@pytest.mark.parametrize(
    ("strategy", "head", "sampled"),
    [
        (sl.TopKSPL(k=2), "linear", None),
        (sl.TwoHead(), "linear", 2),
        (sl.RawSPL(), "factorised", 3),
        (sl.MatchedControl(), "linear", None),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_targets_of_every_kind_are_trained_on(strategy, head, sampled):
    generator = np.random.default_rng(0)
    weak, probs = generator.integers(0, 4, 64), generator.dirichlet(np.full(4, 0.5), 64)
    pairs = sl.Pairs(weak, probs, weak_vocabulary=4, teacher_vocabulary=4, sample_ids=range(64))
    result = sl.relabel(pairs, strategy)
    model = pretrain(
        Tiny(),
        inputs_of(brightness_data(64)),
        result.targets,
        ONE,
        classes=result.space.names,
        head=head_factory(result.space, head, rank=1),
        sampled_classes=sampled,
    )
    assert model.classifier.num_classes == len(model.classes) == result.space.num_classes
    assert isinstance(model.classifier.head, FactorisedHead if head == "factorised" else nn.Linear)
    assert np.isfinite(model.log[-1]["train/loss"])


def no_training(*_, **__):
    pytest.fail("trained")


REFUSED = {
    "another number of names": (
        lambda: pretrain(Tiny(), brightness_data(), sl.relabel(sl.Pairs([0] * 96, [0] * 96)).targets,
                         classes=["a", "b", "c"]),
        ConfigError, "got 3 names of classes for targets of 1 classes",
    ),
    "the same name twice": (
        lambda: pretrain(Tiny(), brightness_data(), np.arange(96) % 2, classes=["a", "a"]),
        LabelError, "'a'",
    ),
    "a label without a name": (
        lambda: pretrain(Tiny(), brightness_data(), np.arange(96) % 3, classes=NAMES),
        LabelError, "outside this label space of 2 classes",
    ),
    "labels of several columns": (
        lambda: pretrain(Tiny(), brightness_data(), np.zeros((96, 2), int)),
        LabelError, "expected one label for each sample",
    ),
    "labels with fractions": (
        lambda: pretrain(Tiny(), brightness_data(), np.full(96, 0.5)),
        LabelError, "expected integers",
    ),
    "targets of other samples": (
        lambda: pretrain(Tiny(), brightness_data(), np.zeros(95, int)),
        ConfigError, "got 95 targets for 96 samples",
    ),
    "no sample with a target": (
        lambda: pretrain(Tiny(), brightness_data(), np.full(96, -1)),
        ConfigError, "no sample is left to train on: 96 were dropped",
    ),
    "no classes": (
        lambda: finetune(Tiny(), brightness_data()),
        ConfigError, "TensorDataset has no attribute `classes`.*`classes=`",
    ),
    "no sample": (
        lambda: finetune(Tiny(), brightness_data(0), classes=NAMES),
        ConfigError, "no sample is left to train on",
    ),
    "a backbone without a width": (
        lambda: finetune(nn.Identity(), named()), ConfigError, "Identity has no integer `num_features`",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_trained(call, error, message, monkeypatch):
    monkeypatch.setattr(L.Trainer, "fit", no_training)
    with pytest.raises(error, match=message):
        call()


def test_a_label_without_a_name_is_refused_while_it_can_be_told():
    three = LabeledDataset(brightness_data(), np.arange(96) % 3)
    with pytest.raises(LabelError, match="a batch has the label 2, and there are 2 classes"):
        finetune(Tiny(), three, ONE, classes=NAMES)


def test_an_empty_test_set_and_an_unknown_metric_are_refused(trained):
    with pytest.raises(ConfigError, match="to test on has no samples"):
        measure(trained, brightness_data(0))
    with pytest.raises(ConfigError, match="there is no metric 'recall'"):
        measure(trained, named(8), metrics=("recall",))
    with pytest.raises(LabelError, match="a batch has the label 2, and there are 2 classes"):
        measure(trained, LabeledDataset(brightness_data(8), np.arange(8) % 3))


def test_a_trainer_that_has_trained_is_refused_and_stays_as_it_was():
    trainer = users_own(max_epochs=1)
    callbacks = list(trainer.callbacks)
    model = finetune(Tiny(), named(), ONE, trainer=trainer)
    assert len(model.log) == 1
    assert trainer.callbacks == callbacks
    # Lightning would make no step, and the backbone would be returned as it was.
    with pytest.raises(ConfigError, match="this trainer has made 6 steps.*a trainer of its own"):
        finetune(model, named(), ONE, trainer=trainer)
    assert measure(model, named(8), trainer=trainer).metrics.keys() == {"top1", "top5"}


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn"])
def test_processes_that_do_not_come_back_with_their_steps_are_refused(strategy):
    several = {"accelerator": "cpu", "devices": 2, "strategy": strategy}
    with pytest.raises(ConfigError, match="forks or spawns its processes.*devices=1.*strategy='ddp'"):
        finetune(Tiny(), named(), ONE, run=RunOptions(trainer=several))
    with pytest.raises(ConfigError, match="forks or spawns its processes.*single predictions"):
        measure(Classifier(Tiny(), 2), named(8), run=RunOptions(trainer=several))


def test_a_training_without_a_step_is_refused():
    with pytest.raises(ConfigError, match="made no step, with 96 samples in batches of 16 on 1 devices"):
        finetune(Tiny(), named(), ONE, run=RunOptions(trainer={"limit_train_batches": 0}))


def stop_at(monkeypatch, epoch):
    step = FinetuneModule.on_train_epoch_end

    def stop(self):
        if self.current_epoch == epoch:
            raise RuntimeError("power cut")
        step(self)

    monkeypatch.setattr(FinetuneModule, "on_train_epoch_end", stop)


def test_a_stopped_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    def train(checkpoint=None):
        torch.manual_seed(9)
        run = RunOptions(checkpoints=True)
        options = FAST.model_copy(update={"epochs": 3})
        return finetune(Tiny(), named(), options, run=run, checkpoint=checkpoint, seed=0)

    checkpoint = tmp_path / "folder" / "last.ckpt"
    stop_at(monkeypatch, 2)
    with pytest.raises(RuntimeError, match="power cut"):
        train(checkpoint)
    assert checkpoint.exists()
    monkeypatch.undo()
    resumed = train(checkpoint)
    assert resumed.steps == 18
    assert [entry["epoch"] for entry in resumed.log] == [2]
    checkpoint.write_bytes(b"x" * 99)
    with pytest.raises(ArtifactError, match="last.ckpt is damaged .*: delete it, and this training begins"):
        train(checkpoint)


def test_no_checkpoint_is_kept_unless_it_is_asked_for(tmp_path):
    finetune(Tiny(), named(), ONE, checkpoint=tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_saved_model_goes_on_as_the_one_that_was_saved(trained, tmp_path):
    domain = ImageDomain(8)
    backbone = domain.create_backbone("small_resnet7")
    model = finetune(backbone, named(), ONE, preprocessing=domain.preprocessing(backbone), seed=0)
    card = model.save(tmp_path, domain=domain, backbone="small_resnet7", made_by={"seed": 0})
    assert card.made_by["steps"] == 6
    loaded = load_model(tmp_path)
    assert measure(loaded, named(seed=1)).metrics == measure(model, named(seed=1)).metrics
    assert [array.tolist() for array in predict(loaded, named(20))] == [
        array.tolist() for array in predict(model, named(20))
    ]
    tuned = [weights(finetune(start, named(), ONE, seed=5)) for start in (model, loaded, loaded.classifier)]
    assert same(tuned[0], tuned[1])
    assert same(tuned[0], tuned[2])
    with pytest.raises(ConfigError, match="give the stage that trained it `preprocessing=`"):
        finetune(Tiny(), named(), ONE).save(tmp_path, domain=domain, backbone="tiny")
