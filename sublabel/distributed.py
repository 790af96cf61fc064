"""Processes that train together: which one this is, what it shares with the others, and where they meet.

Lightning starts a script once for each device. Work that is not training (reading, looking, predicting) is
shared by number: process r of n takes the items r, r + n, …
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch.distributed

from sublabel.torchvision_cure import ensure_torchvision

# One process may have far more to read than another.
PATIENCE = timedelta(days=30)
# By world, and gone with it: a group that outlives its world may abort the process at its exit.
_groups: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

Value = TypeVar("Value")


def world_size() -> int:
    """How many processes train together; 1 where there is no process group."""
    return torch.distributed.get_world_size() if _is_started() else 1


def rank() -> int:
    """Which one of them this process is, from 0 to `world_size()` - 1."""
    return torch.distributed.get_rank() if _is_started() else 0


def is_first_process() -> bool:
    """Whether this is the one process to print, also before the processes have found each other."""
    if _is_started():
        return rank() == 0
    # Lightning takes seconds to import, and whoever reads media only needs none of it.
    ensure_torchvision()
    from lightning.pytorch.utilities import rank_zero_only

    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def share_of(items: Sequence[Value]) -> Sequence[Value]:
    """This process's share of some work: every `world_size()`-th item, from number `rank()` on.

    All processes must give the same items: take the share first, and leave out what is done already after it.

    Example:
        >>> list(share_of(range(4)))  # alone
        [0, 1, 2, 3]
    """
    return items[rank() :: world_size()]


def gather(value: Value) -> list[Value]:
    """The values of all processes by rank, when all have come here, however far they are apart.

    Args:
        value: Anything that pickles.
    """
    size = world_size()
    if size == 1:
        return [value]
    values: list[Any] = [None] * size
    torch.distributed.all_gather_object(values, value, group=_patient_group(torch.distributed.group.WORLD))
    return values


def wait_for_all() -> None:
    """Return when all processes have come here."""
    gather(None)


def _is_started() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _patient_group(world: Any) -> Any:
    """All processes of a world on CPU: training's own group gives up after half an hour of reading."""
    if world not in _groups:
        _groups[world] = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
    return _groups[world]
