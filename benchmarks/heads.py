"""Heads for many classes: what the linear one costs, and what factorising and sampling save.

    python benchmarks/heads.py [--features 512] [--batch_size 128] [--rank 32] [--sampled_classes 8192]

A step is forward, loss, backward and SGD of the head alone, on random features; the median of its steps.
Every figure comes from a process of its own, so that peaks of memory are its own. Ratios are to the linear
head with as many classes. What a head costs in accuracy, the recipes say:

    python recipes/image_noisy.py --seeds 3 --out runs/linear
    python recipes/image_noisy.py --seeds 3 --out runs/factorised --head factorised --head_rank 8
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

import torch  # noqa: E402
from jsonargparse import auto_cli  # noqa: E402
from torch import nn  # noqa: E402

from sublabel.tables import versions  # noqa: E402
from sublabel.training import CrossEntropy, FactorisedHead, SampledCrossEntropy, sgd  # noqa: E402
from sublabel.training.modules import parameter_groups  # noqa: E402

HEADS = ("linear", "factorised", "linear, sampled", "factorised, sampled")
CLASSES = (1_000, 10_000, 40_000, 100_000, 200_000)
LARGEST_FULL = 100_000
"""Above it a full softmax is not tried."""


def grid_cells(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of the cells of a square grid."""
    side = int((classes - 1) ** 0.5) + 1
    cells = torch.arange(classes)
    return cells // side, cells % side


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(
    head: str, classes: int, features: int, batch_size: int, rank: int, sampled_classes: int, steps: int
) -> dict[str, Any]:
    """Parameters, seconds a step, and the peak of memory above what was held before."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    inputs = torch.randn(batch_size, features, device=device, requires_grad=True)
    labels = torch.randint(0, classes, (steps, batch_size), device=device)
    warm_up = nn.Linear(features, 8).to(device)
    warm_up(inputs).sum().backward()
    before = peak_bytes(device)
    module: nn.Module = (
        FactorisedHead(features, *grid_cells(classes), rank)
        if head.startswith("factorised")
        else nn.Linear(features, classes)
    ).to(device)
    sampled = SampledCrossEntropy(classes, sampled_classes)
    objective: Callable[..., torch.Tensor] = sampled if "sampled" in head else CrossEntropy((classes,))
    optimizer = sgd(0.01)(parameter_groups(module))
    times = []
    for step in range(steps):
        started = time.perf_counter()
        loss = objective(module, inputs, labels[step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "seconds": statistics.median(times[1:]),
        "bytes": peak_bytes(device) - before,
    }


def in_subprocess(**arguments: Any) -> dict[str, Any]:
    command = [sys.executable, __file__, f"--task={json.dumps(arguments)}"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


def figure(found: dict[str, Any], linear: dict[str, Any] | None, field: str, unit: float) -> str:
    ratio = "" if linear is None else f"{found[field] / linear[field]:.3f} ×"
    return f"{found[field] / unit:10.1f} {ratio:>9}"


def main(
    features: int = 512,
    batch_size: int = 128,
    rank: int = 32,
    sampled_classes: int = 8192,
    steps: int = 7,
    classes: tuple[int, ...] = CLASSES,
) -> None:
    """Print the table.

    Args:
        features: Width D of the features.
        batch_size: Samples a step.
        rank: Of the factorised head's remainder.
        sampled_classes: Drawn beside those of the batch.
        steps: Steps a figure.
        classes: Widths K of the heads.
    """
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    print(
        f"{features} features, batches of {batch_size}, rank {rank}, {sampled_classes} sampled classes; "
        f"{device or platform.machine()}, {torch.get_num_threads()} threads, "
        + ", ".join(map(" ".join, versions("torch").items()))
    )
    print(f"{'classes':>8}  {'head':20} {'M parameters':>20} {'ms a step':>20} {'peak MB':>20}")
    for number in classes:
        linear = None
        for head in HEADS:
            is_sampled = "sampled" in head
            if (is_sampled and number <= sampled_classes) or (not is_sampled and number > LARGEST_FULL):
                continue
            found = in_subprocess(
                head=head, classes=number, features=features, batch_size=batch_size, rank=rank,
                sampled_classes=sampled_classes, steps=steps,
            )  # fmt: skip
            linear = found if head == "linear" else linear
            columns = (("parameters", 1e6), ("seconds", 1e-3), ("bytes", 1e6))
            row = " ".join(figure(found, linear, field, unit) for field, unit in columns)
            print(f"{number:8,}  {head:20} {row}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("--task="):
        print(json.dumps(measure(**json.loads(sys.argv[1].removeprefix("--task=")))))
    else:
        auto_cli(main, as_positional=False)
