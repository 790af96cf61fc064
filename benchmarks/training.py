"""Training steps: what precision and memory layout cost here, and what our modules add to a bare loop.

    python benchmarks/training.py [--batch_size 128] [--steps 20] [--backbone small_resnet7]

Every figure is the median of its steps; ratios compare within this one run.
"""

from __future__ import annotations

import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

import lightning as L  # noqa: E402
import torch  # noqa: E402
from jsonargparse import auto_cli  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from sublabel.tables import versions  # noqa: E402
from sublabel.training import Classifier, PretrainModule, best_precision, sgd  # noqa: E402
from sublabel.training.classifier import memory_format  # noqa: E402
from sublabel.training.modules import parameter_groups  # noqa: E402
from sublabel_image import ImageDomain  # noqa: E402


def bare_step(
    classifier: Classifier, layout: bool, bfloat16: bool
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """One optimiser step of a plain PyTorch loop."""
    if layout:
        classifier.to(memory_format=torch.channels_last)
    optimizer = sgd()(parameter_groups(classifier))
    device = next(classifier.parameters()).device

    def step(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        inputs, labels = inputs.to(device), labels.to(device)
        if layout:
            inputs = inputs.contiguous(memory_format=memory_format(inputs))
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss = nn.functional.cross_entropy(classifier(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def seconds_per_step(
    step: Callable[[torch.Tensor, torch.Tensor], None], batches: list[list[torch.Tensor]]
) -> float:
    times = []
    for inputs, labels in batches:
        started = time.perf_counter()
        step(inputs, labels)
        times.append(time.perf_counter() - started)
    return statistics.median(times[len(times) // 4 :])


class StepTimes(L.Callback):
    """Seconds between the ends of consecutive training batches."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        self.ends.append(time.perf_counter())

    def median(self) -> float:
        gaps = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        return statistics.median(gaps[len(gaps) // 4 :])


def lightning_step(backbone: nn.Module, loader: DataLoader, preprocessing: dict) -> float:
    watch = StepTimes()
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = L.Trainer(max_epochs=1, precision=best_precision(), callbacks=[watch], **quiet)
    trainer.fit(PretrainModule(backbone, 100, **preprocessing), loader)
    return watch.median()


def main(backbone: str = "small_resnet7", batch_size: int = 128, steps: int = 20) -> None:
    """Print the table.

    Args:
        backbone: A timm name.
        batch_size: Samples a step.
        steps: Steps a figure.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    domain = ImageDomain()
    wanted = domain.preprocessing(domain.create_backbone(backbone))
    preprocessing = {"mean": wanted.mean, "std": wanted.std}
    inputs = torch.randint(0, 256, (batch_size * steps, *wanted.input_size), dtype=torch.uint8)
    loader = DataLoader(TensorDataset(inputs, torch.randint(0, 100, (len(inputs),))), batch_size)
    batches = list(loader)

    def classifier() -> Classifier:
        return Classifier(domain.create_backbone(backbone), 100, **preprocessing).to(device)

    print(
        f"{backbone}, batches of {batch_size} × {wanted.input_size} uint8, {device}, "
        f"{torch.get_num_threads()} threads"
    )
    installed = map(" ".join, versions("torch", "lightning", "timm").items())
    print(", ".join([platform.processor() or platform.machine(), *installed]))
    settings = {
        f"{'bfloat16' if bfloat16 else 'float32'}, {'channels_last' if layout else 'contiguous'}": (
            layout,
            bfloat16,
        )
        for bfloat16 in (False, True)
        for layout in (False, True)
    }
    times = {
        name: seconds_per_step(bare_step(classifier(), *flags), batches) for name, flags in settings.items()
    }
    best = min(times.values())
    for name, seconds in times.items():
        print(
            f"bare loop, {name:24s} {batch_size / seconds:8.0f} images/s   {seconds / best:5.2f} × the best"
        )
    ours = lightning_step(domain.create_backbone(backbone), loader, preprocessing)
    chosen = times[f"{'bfloat16' if best_precision() == 'bf16-mixed' else 'float32'}, channels_last"]
    print(
        f"PretrainModule, our defaults        {batch_size / ours:8.0f} images/s   {ours / best:5.2f} × the "
        f"best, {ours / chosen:5.2f} × a bare loop of the same settings"
    )


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    auto_cli(main, as_positional=False)
