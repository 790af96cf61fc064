"""The commands that train, predict and test, on a manifest of any domain; torch comes when they run."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type
from pydantic import BaseModel

from sublabel.cli.rendering import console
from sublabel.labels import Strategy
from sublabel.media.domain import load_domain
from sublabel.options import HeadKind, RunOptions, TrainOptions
from sublabel.study.options import StudyOptions
from sublabel.tables import open_manifest, read_relabeled

if TYPE_CHECKING:
    from sublabel.media.domain import Domain
    from sublabel.media.table import MediaTable

Options = TypeVar("Options", bound=BaseModel)
register_type(Strategy, serializer=Strategy.to_dict, deserializer=Strategy.parse)


def predict(options: Namespace) -> None:
    """Let a trained model look at every weak sample of a manifest: a folder of predictions."""
    from sublabel.teacher import as_teacher, predict_manifest
    from sublabel.training import card_domain, load_model

    model = load_model(options.teacher)
    domain = card_domain(model.card)
    summary = predict_manifest(
        open_manifest(options.manifest).filter(split="weak"),
        as_teacher(model, top_k=options.top_k),
        options.output,
        reader=domain,
        transform=domain.evaluation_transform(model.preprocessing),
        batch_size=options.batch_size,
        num_workers=options.num_workers,
    )
    _print(f"{summary}\n{options.output}")


def pretrain(options: Namespace) -> None:
    """Pre-train a backbone on the weak samples of a manifest and the targets of a relabeled table."""
    from sublabel.training import MediaInputs, head_factory
    from sublabel.training import pretrain as train

    domain, training, run = _domain(options), _model(TrainOptions, options), _model(RunOptions, options)
    labels = read_relabeled(options.labels)
    media = _media(options.manifest, "weak", domain, run)
    targets = labels.targets.take(media.positions_of(labels.sample_ids))
    backbone, preprocessing = _backbone(options, domain)
    transform = domain.training_transform(preprocessing, training.augmentation)
    model = train(
        backbone,
        MediaInputs(media, transform),
        targets,
        training,
        classes=labels.space.names,
        head=head_factory(labels.space, options.head),
        preprocessing=preprocessing,
        run=run,
    )
    prints = {"label_space": labels.space.fingerprint}
    model.save(
        options.output,
        domain=domain,
        backbone=options.backbone,
        fingerprints=prints,
        made_by={"seed": options.seed},
    )
    _print(f"{model.steps:,} steps on {int(targets.keep.sum()):,} samples\n{options.output}")


def finetune(options: Namespace) -> None:
    """Train on the clean target samples of a manifest: a teacher, or a model that was pre-trained."""
    from sublabel.training import LabeledDataset, MediaInputs, card_domain, load_model
    from sublabel.training import finetune as train

    training, run = _model(TrainOptions, options), _model(RunOptions, options)
    start: Any
    if options.pretrained_model is None:
        domain, name = _domain(options), options.backbone
        start, preprocessing = _backbone(options, domain)
    else:
        _seed(options)
        start = load_model(options.pretrained_model)
        domain, name, preprocessing = card_domain(start.card), start.card.backbone, start.preprocessing
    vocabulary = open_manifest(options.manifest).filter(split="target_train").vocabulary("label")
    media = _media(options.manifest, "target_train", domain, run)
    transform = domain.training_transform(preprocessing, training.augmentation)
    data = LabeledDataset(MediaInputs(media, transform), media.labels("label", vocabulary))
    model = train(start, data, training, classes=vocabulary.names, preprocessing=preprocessing, run=run)
    if model.warm_start is not None:
        _print(str(model.warm_start))
    model.save(options.output, domain=domain, backbone=name, made_by={"seed": options.seed})
    _print(f"{model.steps:,} steps on {len(data):,} samples of {len(vocabulary):,} classes\n{options.output}")


def test(options: Namespace) -> None:
    """Measure a fine-tuned model on the test samples of a manifest."""
    from sublabel.training import LabeledDataset, MediaInputs, card_domain, load_model
    from sublabel.training import test as measure

    run = _model(RunOptions, options)
    model = load_model(options.model)
    domain = card_domain(model.card)
    media = _media(options.manifest, options.split, domain, run)
    data = LabeledDataset(
        MediaInputs(media, domain.test_transform(model.preprocessing)),
        media.labels("label", model.vocabulary),
    )
    found = measure(model, data, metrics=options.metrics, views=domain.num_views, run=run)
    if options.json:
        sys.stdout.write(json.dumps({"samples": len(data), **found.metrics}) + "\n")
    else:
        _print("\n".join(f"{name} {value:.4f}" for name, value in found.metrics.items()))


def compare(options: Namespace) -> None:
    """Compare strategies on a manifest: teacher, predictions, labels and training of every row and seed."""
    from sublabel.study.study import Study
    from sublabel.teacher import as_teacher
    from sublabel.training import load_model

    teacher = None
    if options.teacher_model is not None:
        teacher = as_teacher(load_model(options.teacher_model), top_k=options.teacher_top_k)
    study = Study(
        options.manifest,
        _domain(options),
        _model(StudyOptions, options),
        options.output,
        run=_model(RunOptions, options),
        teacher=teacher,
        predictions=options.predictions,
    )
    comparison = study.run()
    console().print(comparison.to_rich())
    _print(f"{options.output}\nall of it on a page: sublabel report {options.output}")


def predict_arguments(command: ArgumentParser) -> None:
    """Add the options of `predict`."""
    _manifest_argument(command, "with a split `weak`, and `weak_label`")
    command.add_argument("--teacher", type=str, required=True, help="folder of a model that `finetune` wrote")
    command.add_argument("-o", "--output", type=str, required=True, help="folder for the predictions")
    command.add_argument("--top_k", type=int, default=5, help="classes of each sample that are kept")
    command.add_argument("--batch_size", type=int, default=256, help="samples a batch")
    command.add_argument("--num_workers", type=int, default=0, help="processes that read and decode")


def pretrain_arguments(command: ArgumentParser) -> None:
    """Add the options of `pretrain`."""
    _manifest_argument(command, "with a split `weak`")
    command.add_argument("--labels", type=str, required=True, help="table that `relabel` wrote")
    _domain_arguments(command)
    command.add_argument("--head", type=HeadKind, default="linear", help="a plain head, or a factorised one")
    _training_arguments(command)


def finetune_arguments(command: ArgumentParser) -> None:
    """Add the options of `finetune`."""
    _manifest_argument(command, "with a split `target_train`, and `label`")
    command.add_argument(
        "--from",
        dest="pretrained_model",
        type=str | None,
        default=None,
        help="folder of a model that `pretrain` wrote, which names domain and backbone; its head is dropped",
    )
    _domain_arguments(command)
    _training_arguments(command)


def test_arguments(command: ArgumentParser) -> None:
    """Add the options of `test`."""
    _manifest_argument(command, "with a split `target_test`, and `label`")
    command.add_argument("--model", type=str, required=True, help="folder of a model that `finetune` wrote")
    command.add_argument("--split", type=str, default="target_test", help="the split to measure on")
    command.add_argument(
        "--metrics",
        type=tuple[str, ...],
        default=("top1", "top5"),
        help="topN, or classes of torchmetrics that begin with Multiclass",
    )
    command.add_argument("--json", action="store_true", help="print JSON, for machines")
    command.add_class_arguments(RunOptions, as_group=True)


def compare_arguments(command: ArgumentParser) -> None:
    """Add the options of `compare`."""
    command.add_argument("--config", action="config", help="YAML file with any of these options")
    _manifest_argument(command, "with the splits `weak`, `target_train` and `target_test`")
    command.add_argument("-o", "--output", type=str, required=True, help="folder for all artefacts")
    _domain_options_arguments(command)
    command.add_argument(
        "--teacher_model", type=str | None, default=None, help="folder of a model to take as teacher"
    )
    command.add_argument(
        "--predictions",
        type=str | None,
        default=None,
        help="a finished predictions table, in place of a teacher",
    )
    command.add_class_arguments(StudyOptions, as_group=True)
    command.add_class_arguments(RunOptions, as_group=True)


def _manifest_argument(command: ArgumentParser, what: str) -> None:
    command.add_argument("manifest", type=str, help=f"Parquet, CSV or JSON Lines {what}")


def _domain_options_arguments(command: ArgumentParser) -> None:
    command.add_argument("--domain", type=str, default="image", help="the installed domain of the media")
    command.add_argument(
        "--domain_options",
        type=dict[str, Any],
        default={},
        help="its options, such as '{image_size: 64}'; default: the domain's own",
    )


def _domain_arguments(command: ArgumentParser) -> None:
    _domain_options_arguments(command)
    command.add_argument("--backbone", type=str, default="resnet18", help="a backbone's name in the domain")
    command.add_argument(
        "--pretrained", type=bool, default=False, help="start from the backbone's published weights"
    )
    command.add_argument(
        "--weights", type=str | None, default=None, help="start from a local file of weights (safetensors)"
    )


def _training_arguments(command: ArgumentParser) -> None:
    command.add_argument("-o", "--output", type=str, required=True, help="folder for the model")
    command.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    command.add_class_arguments(TrainOptions, as_group=True)
    command.add_class_arguments(RunOptions, as_group=True)


def _model(model: type[Options], options: Namespace) -> Options:
    """An options model of the values on the command line."""
    values = options.as_dict()
    return model(**{name: values[name] for name in model.model_fields})


def _domain(options: Namespace) -> Domain:
    if not options.domain_options:
        return load_domain(options.domain)
    return load_domain(options.domain, {**load_domain(options.domain).options(), **options.domain_options})


def _backbone(options: Namespace, domain: Domain) -> tuple[Any, Any]:
    _seed(options)
    backbone = domain.create_backbone(
        options.backbone, pretrained=options.pretrained, weights=options.weights
    )
    return backbone, domain.preprocessing(backbone)


def _seed(options: Namespace) -> None:
    import lightning as L

    L.seed_everything(options.seed, workers=True, verbose=False)


def _media(manifest: str, split: str, domain: Domain, run: RunOptions) -> MediaTable:
    from sublabel.media import CachedReader, MediaTable

    return MediaTable.from_manifest(
        open_manifest(manifest).filter(split=split), CachedReader(domain, run.cache_bytes)
    )


def _print(text: str) -> None:
    console().print(text, soft_wrap=True)


def quieten() -> None:
    """Let the log say what the stages say, and no more."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
