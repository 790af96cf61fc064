"""Jobs in processes of their own, with their share of the cores, that log where this process does."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from logging.handlers import QueueHandler, QueueListener
from pickle import PicklingError
from typing import Any

import torch

from sublabel.errors import ConfigError
from sublabel.torchvision_cure import ensure_torchvision

# A job is given the warning filters first, and with them libraries that import torchvision.
ensure_torchvision()

# Those that a program quietens, as a rule.
LOGGERS = ("", "sublabel", "lightning.pytorch")

Map = Callable[..., Iterable[Any]]


@contextmanager
def job_map(jobs: int) -> Iterator[Map]:
    """A `map` that makes up to `jobs` calls at the same time, each in another process; one is the built-in.

    Args:
        jobs: Number of processes. They are spawned: a script that asks for more than one needs the usual
            `if __name__ == "__main__":`.

    Raises:
        ConfigError: A process died, as the system kills one that needs more memory than there is; or a call
            holds what no other process can import, such as a class that was defined in a function.
    """
    if jobs == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    records = context.Queue()
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    threads = max(1, torch.get_num_threads() // jobs)
    pool = ProcessPoolExecutor(
        jobs, context, partial(_begin, records, levels, list(warnings.filters), threads)
    )
    listener = QueueListener(records, *logging.getLogger().handlers, respect_handler_level=True)
    listener.start()
    try:
        yield pool.map
    except BrokenProcessPool as error:
        raise ConfigError(
            f"one of {jobs} processes died; was there memory for all? Try fewer jobs"
        ) from error
    except (PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error) and "local object" not in str(error):
            raise
        raise ConfigError(
            f"what {jobs} jobs work with cannot go to another process ({error}): define it in a module that "
            "can be imported, or run with one job"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        listener.stop()


def _begin(records: Any, levels: dict[str, int], filters: list[Any], threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    warnings.filters[:] = filters  # type: ignore[index]
    logging.getLogger().addHandler(QueueHandler(records))
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _end_with_parent() -> None:
    """A job whose parent was killed must not go on writing where the next run writes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
