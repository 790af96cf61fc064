"""3D networks: what precision and memory layout cost here, and what an epoch through Lightning adds.

    python benchmarks/video_forward.py [--repetitions 9] [--clips 4] [--threads 1]

First the forward pass of the 3D ResNet50 at 8 × 112², our default settings beside the four that there
are; then training epochs of our module under Lightning beside a bare PyTorch loop over the same loader,
model, optimiser and settings. What is compared takes turns; figures are medians, ratios those of one turn.
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
from sublabel.training import PretrainModule, best_precision, sgd  # noqa: E402
from sublabel.training.classifier import memory_format  # noqa: E402
from sublabel.training.modules import parameter_groups  # noqa: E402
from sublabel_video.backbones import create_backbone  # noqa: E402

QUIET = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turns(actions: dict[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Seconds of every action in every turn, after one for warming up; every other turn goes backwards."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(turns + 1):
        for name in list(actions)[:: 1 if turn % 2 else -1]:
            seconds = actions[name]()
            if turn:
                times[name].append(seconds)
    return times


def ratio(times: list[float], others: list[float]) -> float:
    """Median over the turns, which a disturbance of one turn leaves alone."""
    return statistics.median(time / other for time, other in zip(times, others, strict=True))


def module_of(backbone: str, channels_last: bool = True) -> PretrainModule:
    network = create_backbone(backbone)
    wanted = network.preprocessing
    module = PretrainModule(
        network, 200, schedule="one_cycle", channels_last=channels_last, mean=wanted.mean, std=wanted.std
    )
    module.configure_model()
    return module


def forward(backbone: str, clips: torch.Tensor, precision: str, channels_last: bool) -> Callable[[], float]:
    """One forward pass of the classifier, from uint8 clips on the device to logits."""
    module = module_of(backbone, channels_last).to(clips.device).eval()

    @torch.inference_mode()
    def run() -> float:
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            return timed(lambda: module(clips))

    return run


def bare_epoch(backbone: str, loader: DataLoader) -> float:
    """Seconds of a plain loop's epoch: our classifier, optimiser, schedule, precision and layout."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = module_of(backbone).classifier.to(device).train()
    optimizer = sgd()(parameter_groups(classifier))
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peaks, total_steps=len(loader))
    bfloat16 = best_precision() == "bf16-mixed"

    def epoch() -> None:
        for inputs, labels in loader:
            inputs, labels = inputs.to(device), labels.to(device)
            inputs = inputs.contiguous(memory_format=memory_format(inputs))
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                loss = nn.functional.cross_entropy(classifier(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    return timed(epoch)


class EpochTime(L.Callback):
    """Seconds from the start of the training epoch to its end."""

    def on_train_epoch_start(self, *_: object) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.started


def lightning_epoch(backbone: str, loader: DataLoader) -> float:
    watch = EpochTime()
    trainer = L.Trainer(max_epochs=1, devices=1, precision=best_precision(), callbacks=[watch], **QUIET)
    trainer.fit(module_of(backbone), loader)
    return watch.seconds


def compare_forward(clips: int, repetitions: int) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inputs = torch.randint(0, 256, (clips, 3, 8, 112, 112), dtype=torch.uint8, device=device)
    settings = {
        f"{precision}, {'channels_last_3d' if channels_last else 'contiguous'}": (precision, channels_last)
        for precision in ("32-true", "bf16-mixed")
        for channels_last in (False, True)
    }
    actions = {name: forward("slow_r50", inputs, *setting) for name, setting in settings.items()}
    ours = f"our defaults ({best_precision()})"
    actions[ours] = forward("slow_r50", inputs, best_precision(), True)
    times = in_turns(actions, repetitions)
    best = min(settings, key=lambda name: statistics.median(times[name]))
    print(f"slow_r50 forward, {clips} × (3, 8, 112, 112) uint8")
    for name, seconds in times.items():
        per_clip, against = statistics.median(seconds) / clips, ratio(seconds, times[best])
        print(f"  {name:32s} {per_clip:8.4f} s/clip   {against:5.2f} × the best")


def compare_epochs(backbone: str, size: tuple[int, int, int], batch_size: int, repetitions: int) -> None:
    clips = torch.randint(0, 256, (16 * batch_size, 3, *size), dtype=torch.uint8)
    labels = torch.randint(0, 200, (len(clips),))
    loader = DataLoader(TensorDataset(clips, labels), batch_size, shuffle=True)
    times = in_turns(
        {
            "bare": lambda: bare_epoch(backbone, loader),
            "lightning": lambda: lightning_epoch(backbone, loader),
        },
        repetitions,
    )
    bare, ours = (statistics.median(times[name]) for name in ("bare", "lightning"))
    print(
        f"{backbone}, epoch of {len(loader)} batches of {batch_size} × {size}: bare {bare:.3f} s, Lightning "
        f"{ours:.3f} s, {ratio(times['lightning'], times['bare']):5.3f} × the bare loop"
    )


def main(clips: int = 1, repetitions: int = 9, threads: int | None = None) -> None:
    """Print the tables.

    Args:
        clips: Clips of a forward pass.
        repetitions: Repetitions of every figure.
        threads: Threads of PyTorch; None leaves them as they are.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    installed = map(" ".join, versions("torch", "lightning", "timm", "pytorchvideo").items())
    machine = platform.processor() or platform.machine()
    print(", ".join([machine, device, f"{torch.get_num_threads()} threads", *installed]))
    compare_forward(clips, repetitions)
    compare_epochs("small_resnet3d", (8, 32, 32), 32, repetitions)
    compare_epochs("slow_r50_narrow", (8, 64, 64), 8, repetitions)


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    auto_cli(main, as_positional=False)
