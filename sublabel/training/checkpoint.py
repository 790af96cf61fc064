"""Models on disk, safetensors beside a JSON card, and warm starts that say what they loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sublabel.errors import ArtifactError
from sublabel.files import write_atomically, write_json
from sublabel.labels import Vocabulary
from sublabel.media.domain import Domain, Preprocessing, load_domain
from sublabel.provenance import fingerprint
from sublabel.tables import versions
from sublabel.training.classifier import Classifier
from sublabel.training.heads import head_from_state

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "card.json"


class ModelCard(BaseModel):
    """What a saved model is: enough to rebuild it, feed it and name its outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    """Name of the domain that builds the backbone."""
    domain_options: dict[str, Any] | None = None
    """What the domain's `options` returned; None: its defaults."""
    backbone: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    fingerprints: dict[str, str] = {}
    """SHA-256 of what it was made from (`label_space`, …) and of itself (`weights`, `vocabulary`)."""
    made_by: dict[str, Any] = {}
    """The resolved options of the run, and the versions of the libraries."""
    format_version: int = 1


class LoadedModel(NamedTuple):
    """A classifier in evaluation mode, and its card."""

    classifier: Classifier
    card: ModelCard

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes, in the order of the outputs."""
        return Vocabulary(self.card.classes)

    @property
    def preprocessing(self) -> Preprocessing:
        """What the backbone wants as input."""
        return self.card.preprocessing


def save_model(folder: str | Path, classifier: Classifier, card: ModelCard) -> ModelCard:
    """Write `model.safetensors` (backbone and head) and `card.json`.

    Args:
        folder: Made if it does not exist.
        classifier: Its head's width must be the number of classes of the card.
        card: The fingerprints of weights and vocabulary and the versions are filled in here.

    Returns:
        The card as written.

    Raises:
        ArtifactError: The card names another number of classes than the head has.
    """
    if classifier.num_classes != len(card.classes):
        raise ArtifactError(
            f"the head has {classifier.num_classes} classes and the card names {len(card.classes)}: name "
            "each one, in order"
        )
    folder = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    weights = save(state)
    prints = {
        "weights": hashlib.sha256(weights).hexdigest(),
        "vocabulary": Vocabulary(card.classes).fingerprint,
    }
    card = card.model_copy(
        update={
            "fingerprints": {**card.fingerprints, **prints},
            "made_by": {**card.made_by, "versions": versions("torch", "lightning", "timm")},
        }
    )
    with write_atomically(folder / WEIGHTS_FILE) as file:
        file.write(weights)
    # The card comes last: a folder with a card is complete.
    write_json(folder / CARD_FILE, card.model_dump(mode="json"))
    return card


def read_card(folder: str | Path) -> ModelCard:
    """Read a model's card without its weights.

    Raises:
        ArtifactError: There is no card, or it is not one of ours.
    """
    path = Path(folder) / CARD_FILE
    try:
        return ModelCard.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{folder} holds no {CARD_FILE}: give a folder that `save_model` wrote"
        ) from error
    except ValidationError as error:
        raise ArtifactError(f"{path} is not a model card: {error.errors()[0]['msg']}") from error


def card_domain(card: ModelCard) -> Domain:
    """The domain that a card names, with the options that the model was trained with.

    Raises:
        ConfigError: It is not installed.
    """
    return load_domain(card.domain, card.domain_options)


def load_model(folder: str | Path, *, domain: Domain | None = None) -> LoadedModel:
    """Rebuild a saved classifier; its predictions equal those of the one that was saved.

    Args:
        folder: What `save_model` wrote.
        domain: Builds the backbone; default: the installed domain that the card names.

    Raises:
        ArtifactError: Card or weights are missing, damaged, or do not fit each other.
        ConfigError: The card's domain is not installed.
    """
    card = read_card(folder)
    state = load_weights(Path(folder) / WEIGHTS_FILE, card.fingerprints.get("weights"))
    backbone = (domain or card_domain(card)).create_backbone(card.backbone)
    classifier = Classifier(
        backbone,
        len(card.classes),
        head=head_from_state(state),
        mean=card.preprocessing.mean,
        std=card.preprocessing.std,
    )
    report = _load_matching(classifier, state)
    report.require_complete(f"{folder}, backbone {card.backbone}")
    return LoadedModel(classifier.eval(), card)


@dataclass(frozen=True)
class WarmStartReport:
    """What a warm start did with every tensor of the weights and of the backbone, by name."""

    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """In the backbone, not in the weights: kept as initialised."""
    unexpected: tuple[str, ...] = ()
    """In the weights, not in the backbone: not used."""
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    """Name → (shape in the weights, shape in the backbone): not used."""
    dropped: tuple[str, ...] = ()
    """The pre-training head, thrown away as the method says."""

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded", f"head dropped ({len(self.dropped)} tensors)"]
        for what, names in (("missing", self.missing), ("unexpected", self.unexpected)):
            if names:
                parts.append(f"{len(names)} {what} ({_few(names)})")
        if self.mismatched:
            shapes = [
                f"{name}: {got} in the weights, {want} in the backbone"
                for name, (got, want) in self.mismatched.items()
            ]
            parts.append(f"{len(shapes)} of another shape ({_few(shapes)})")
        return ", ".join(parts)

    def require_complete(self, what: str) -> None:
        """Raise ArtifactError unless every tensor of both sides was used."""
        if self.missing or self.unexpected or self.mismatched:
            raise ArtifactError(
                f"the weights do not fit ({what}): {self}; build the backbone they were made for, or pass "
                "strict=False to load what fits"
            )


def warm_start(
    backbone: nn.Module, weights: str | Path | Mapping[str, Tensor], *, strict: bool = True
) -> WarmStartReport:
    """Load pre-trained weights into a backbone; the pre-training head is dropped.

    Args:
        backbone: Changed in place.
        weights: A folder that `save_model` wrote, a `.safetensors` file, or a state dict; names may carry the
            prefix `backbone.`, tensors under `head.` are the head.
        strict: Refuse unless every tensor of the backbone is loaded and every other one of the weights is
            used.

    Returns:
        The report. With `strict=False` read it: it names what was not loaded.

    Raises:
        ArtifactError: The weights cannot be read, or `strict` and something does not fit.
    """
    if isinstance(weights, Mapping):
        state = dict(weights)
    else:
        path = Path(weights)
        state = (
            load_weights(path / WEIGHTS_FILE, read_card(path).fingerprints.get("weights"))
            if path.is_dir()
            else load_weights(path)
        )
    prefixed = any(name.startswith("backbone.") for name in state)
    dropped = tuple(sorted(name for name in state if name.startswith("head."))) if prefixed else ()
    body = {name.removeprefix("backbone."): tensor for name, tensor in state.items() if name not in dropped}
    report = _load_matching(backbone, body, dropped, apply=not strict)
    if strict:
        report.require_complete(f"backbone {type(backbone).__name__}")
        _load_matching(backbone, body)
    return report


def _load_matching(
    module: nn.Module, state: Mapping[str, Tensor], dropped: tuple[str, ...] = (), *, apply: bool = True
) -> WarmStartReport:
    own = module.state_dict()
    mismatched = {
        name: (tuple(tensor.shape), tuple(own[name].shape))
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    }
    matching = {name: tensor for name, tensor in state.items() if name in own and name not in mismatched}
    if apply:
        module.load_state_dict(matching, strict=False)
    return WarmStartReport(
        loaded=tuple(sorted(matching)),
        missing=tuple(sorted(set(own) - set(state))),
        unexpected=tuple(sorted(set(state) - set(own))),
        mismatched=mismatched,
        dropped=dropped,
    )


def load_weights(path: Path, expected_sha256: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Args:
        path: The file.
        expected_sha256: Refuse a file with another hash; None takes any.

    Raises:
        ArtifactError: The file is missing, damaged or another one.
    """
    if not path.is_file():
        raise ArtifactError(f"there is no weights file {path}")
    try:
        if expected_sha256 is not None and (got := fingerprint(path)) != expected_sha256:
            raise ArtifactError(
                f"{path} has the SHA-256 {got[:12]}…, its card says {expected_sha256[:12]}…: the file was "
                "changed or belongs to another card"
            )
        return load_file(path)
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is not a safetensors file ({error}); convert the weights to safetensors"
        ) from error


def state_fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a module's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            if tensor.ndim
            else str(tensor.item()).encode()
        )
    return digest.hexdigest()


def _few(names: tuple[str, ...] | list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f", … {len(names) - most} more" if len(names) > most else "")
