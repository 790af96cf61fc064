"""The label algebra at the limit: counting, assigning and relabeling beside what people use today.

    python benchmarks/labels.py [--rows 100000000] [--pairs 10000000] [--folder /big/disk]

Needs polars, duckdb, cleanlab and scikit-learn. Every task runs in a process of its own, its peers right
after it, so that peaks of memory are theirs alone and ratios compare within this one run.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jsonargparse import auto_cli

from sublabel.inspection import inspect_confusion
from sublabel.labels import ConfidentCounts, ConfusionMatrix, Pairs, RawSPL, Vocabulary
from sublabel.labels import count as count_pairs
from sublabel.tables import PREDICTIONS_SCHEMA, PredictionsMetadata, TableWriter, iter_batches, relabel_table

LIBRARIES = ("numpy", "scipy", "pyarrow", "scikit-learn", "polars", "duckdb", "cleanlab")
MIN_COUNT = 100
CLIPS_PER_VIDEO = 8
TASKS: dict[str, Callable[..., dict[str, Any]]] = {}


def task(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Make a function callable in a process of its own."""
    TASKS[function.__name__] = function
    return function


def in_subprocess(name: str, **arguments: Any) -> dict[str, Any]:
    command = [sys.executable, __file__, f"--task={json.dumps([name, arguments])}"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        sys.exit(f"{name} {arguments} ended with exit code {ended.returncode}")
    return json.loads(ended.stdout.splitlines()[-1])


def held_bytes(field: str) -> int:
    """The memory that this process holds (`VmRSS`), or the most that it ever held (`VmHWM`)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def best_of(repeats: int, function: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def measured(function: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
    """Seconds, those of all cores, and how far memory rose at its peak above what was held before."""
    before, cpu, started = held_bytes("VmRSS"), time.process_time(), time.perf_counter()
    result = function()
    seconds, cpu, peak = time.perf_counter() - started, time.process_time() - cpu, held_bytes("VmHWM")
    return {"seconds": seconds, "cpu": cpu, "extra": peak - before, "peak": peak}, result


def random_pairs(samples: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weak labels of uneven frequency; the teacher agrees with half, and else says a class close by."""
    generator = np.random.default_rng(seed)
    weak, teacher = np.empty(samples, np.int32), np.empty(samples, np.int32)
    # In chunks, so that this leaves no peak behind that hides the one to be measured.
    for start in range(0, samples, 1_000_000):
        chosen = slice(start, min(start + 1_000_000, samples))
        number = chosen.stop - start
        weak[chosen] = generator.random(number) ** 2 * classes
        other = weak[chosen] + 1 + generator.exponential(classes / 20, number).astype(np.int32)
        teacher[chosen] = np.where(generator.random(number) < 0.5, weak[chosen], other % classes)
    return weak, teacher


@task
def small_vocabulary(pairs: int) -> dict[str, Any]:
    """200 × 200: counting and assigning beside a copy of both arrays and scikit-learn."""
    from sklearn.metrics import confusion_matrix

    weak, teacher = random_pairs(pairs, 200)
    vocabulary = Vocabulary.of(200)

    def checked() -> Pairs:
        return Pairs(weak, teacher, weak_vocabulary=vocabulary)

    space = RawSPL().fit(count_pairs(checked()))
    targets = np.empty_like(weak), np.empty_like(teacher)
    return {
        "copy into new arrays": best_of(7, lambda: (weak.copy(), teacher.copy())),
        "copy into old arrays": best_of(
            7, lambda: (np.copyto(targets[0], weak), np.copyto(targets[1], teacher))
        ),
        "validate": best_of(7, checked),
        "count": best_of(7, lambda: count_pairs(checked())),
        "assign": best_of(7, lambda: space.assign(checked())),
        "scikit-learn": best_of(1, lambda: confusion_matrix(weak, teacher, labels=np.arange(200))),
    }


@task
def count(how: str, pairs: int, classes: int) -> dict[str, Any]:
    """Many classes: time and extra memory of one way to count."""
    weak, teacher = random_pairs(pairs, classes)
    vocabulary = Vocabulary.of(classes)

    def ours() -> int:
        return count_pairs(Pairs(weak, teacher, weak_vocabulary=vocabulary)).counts.nnz

    def scipy_csr() -> int:
        from scipy import sparse

        ones = np.ones(len(weak), np.int64)
        return sparse.coo_array((ones, (weak, teacher)), shape=(classes, classes)).tocsr().nnz

    def polars() -> int:
        import polars as pl

        frame = pl.DataFrame({"weak": weak, "teacher": teacher})
        return len(frame.group_by("weak", "teacher").len())

    def duckdb() -> int:
        import duckdb

        pairs_table = pa.table({"weak": weak, "teacher": teacher})
        connection = duckdb.connect()
        connection.register("pairs", pairs_table)
        query = "SELECT weak, teacher, count(*) AS n FROM pairs GROUP BY weak, teacher"
        return connection.sql(query).to_arrow_table().num_rows

    ways = {"sublabel": ours, "scipy": scipy_csr, "polars": polars, "duckdb": duckdb}
    # Imports, and the threads that a library starts once, are not what is measured.
    full, weak, teacher = (weak, teacher), weak[:1000], teacher[:1000]
    ways[how]()
    weak, teacher = full
    figures, cells = measured(ways[how])
    return {**figures, "cells": cells}


@task
def inspect(pairs: int, classes: int) -> dict[str, Any]:
    confusion = count_pairs(Pairs(*random_pairs(pairs, classes), weak_vocabulary=classes))
    return measured(lambda: inspect_confusion(confusion))[0]


@task
def make_predictions(path: str, rows: int, classes: int) -> dict[str, Any]:
    """Predictions of ids such as `video_00123456#07`, five classes a row; one row in 500 has failed."""
    names = [f"action {label:05d}" for label in range(classes)]
    vocabulary = Vocabulary(names)
    metadata = PredictionsMetadata(vocabulary, vocabulary, "benchmark").to_strings()
    statuses = pa.array(["ok", "unreadable: cut off"])
    with TableWriter(path, PREDICTIONS_SCHEMA, metadata) as writer:
        for start in range(0, rows, 1_000_000):
            number = min(1_000_000, rows - start)
            generator = np.random.default_rng(start)
            weak, teacher = random_pairs(number, classes, seed=start + 1)
            failed = generator.random(number) < 0.002
            top_ids = ((teacher[:, None] + np.arange(5, dtype=np.int32) * 7) % classes).ravel()
            offsets = pa.array(np.arange(0, 5 * number + 1, 5, dtype=np.int32))
            lists = [
                pa.ListArray.from_arrays(offsets, pa.array(values), mask=pa.array(failed))
                for values in (top_ids, generator.random(5 * number, dtype=np.float32))
            ]
            columns = [
                _sample_ids(start, number),
                pa.array(names).take(pa.array(weak)),
                *lists,
                statuses.take(pa.array(failed.astype(np.int8))),
            ]
            writer.write(pa.table(columns, schema=PREDICTIONS_SCHEMA))
    return {"bytes": Path(path).stat().st_size}


def _sample_ids(start: int, number: int) -> pa.Array:
    index = np.arange(start, start + number)
    video = pc.utf8_lpad(pa.array(index // CLIPS_PER_VIDEO).cast(pa.string()), 8, "0")
    clip = pc.utf8_lpad(pa.array(index % CLIPS_PER_VIDEO).cast(pa.string()), 2, "0")
    joined = pc.binary_join_element_wise(video, clip, "#")
    return pc.binary_join_element_wise("video_", joined, "")


@task
def relabel(how: str, predictions: str, out: str, threads: int | None = None) -> dict[str, Any]:
    """Raw SPL whose cells below `MIN_COUNT` samples are dropped, Parquet to Parquet."""

    def ours() -> None:
        relabel_table(predictions, out, RawSPL(min_count=MIN_COUNT, rare="drop"), threads=threads)

    def polars() -> None:
        import polars as pl

        teacher = pl.when(pl.col("status") == "ok").then(pl.col("top_ids").list.first())
        pairs = pl.scan_parquet(predictions).select("sample_id", "weak_label", teacher=teacher)
        cell = ["weak_label", "teacher"]
        kept = pairs.drop_nulls(cell).group_by(cell).len().filter(pl.col("len") >= MIN_COUNT)
        labels = kept.sort(cell).with_row_index("label").select(*cell, pl.col("label").cast(pl.Int64))
        joined = pairs.join(
            labels.collect(engine="streaming").lazy(), on=cell, how="left", maintain_order="left"
        )
        joined.select("sample_id", pretrain_label=pl.col("label").fill_null(-1)).sink_parquet(out)

    def duckdb(order: str = "") -> None:
        import duckdb

        duckdb.execute(f"SET temp_directory='{Path(out).parent}/duckdb'")
        duckdb.execute(
            f"""
            COPY (
                WITH pairs AS (
                    SELECT sample_id, weak_label, CASE WHEN status = 'ok' THEN top_ids[1] END AS teacher,
                        file_row_number
                    FROM read_parquet('{predictions}', file_row_number = true)
                ), labels AS (
                    SELECT weak_label, teacher, row_number() OVER (ORDER BY weak_label, teacher) - 1 AS label
                    FROM pairs WHERE weak_label IS NOT NULL AND teacher IS NOT NULL
                    GROUP BY weak_label, teacher HAVING count(*) >= {MIN_COUNT}
                )
                SELECT sample_id, coalesce(label, -1) AS pretrain_label
                FROM pairs LEFT JOIN labels USING (weak_label, teacher) {order}
            ) TO '{out}' (FORMAT parquet)
            """
        )

    ways = {
        "sublabel": ours,
        "polars": polars,
        "duckdb": duckdb,
        "duckdb, in order": lambda: duckdb("ORDER BY file_row_number"),
    }
    figures, _ = measured(ways[how])
    return {**figures, "bytes": Path(out).stat().st_size}


@task
def same_rows(first: str, second: str) -> dict[str, Any]:
    """Whether two relabeled tables hold the same rows in the same order."""
    batches = [iter_batches(path, ["sample_id", "pretrain_label"], 1_000_000) for path in (first, second)]
    return {"same": all(a == b for a, b in zip(_even(batches[0]), _even(batches[1]), strict=True))}


def _even(batches: Iterable[pa.RecordBatch], rows: int = 1_000_000) -> Iterable[pa.Table]:
    """Tables of one size and one type, whoever wrote them."""
    schema = pa.schema([("sample_id", pa.string()), ("pretrain_label", pa.int64())])
    waiting = schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema)])
        while len(waiting) >= rows:
            yield waiting.slice(0, rows)
            waiting = waiting.slice(rows)
    yield waiting


@task
def curve_point(samples: int, classes: int) -> dict[str, Any]:
    """Count, fit and assign in chunks of at most 10 million."""
    vocabulary, seconds = Vocabulary.of(classes), dict.fromkeys(("count", "fit", "assign"), 0.0)
    confusion = ConfusionMatrix(vocabulary)
    sizes = [min(10_000_000, samples - start) for start in range(0, samples, 10_000_000)]

    def timed(stage: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = function()
        seconds[stage] += time.perf_counter() - started
        return result

    for seed, size in enumerate(sizes):
        pairs = random_pairs(size, classes, seed)
        timed("count", lambda pairs=pairs: confusion.update(Pairs(*pairs, weak_vocabulary=vocabulary)))
    timed("count", lambda: confusion.counts)
    space = timed("fit", lambda: RawSPL(min_count=10).fit(confusion))
    for seed, size in enumerate(sizes):
        pairs = random_pairs(size, classes, seed)
        timed("assign", lambda pairs=pairs: space.assign(Pairs(*pairs, weak_vocabulary=vocabulary)))
    return {**seconds, "peak": held_bytes("VmHWM"), "cells": confusion.counts.nnz}


@task
def cleanlab(samples: int, classes: int) -> dict[str, Any]:
    """The confident joint of the same arrays; probabilities near the weak label, noise on top."""
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues

    generator = np.random.default_rng(0)
    weak, teacher = random_pairs(samples, classes)
    scores = generator.exponential(size=(samples, classes)) ** 2
    scores[np.arange(samples), teacher] += generator.random(samples) * classes
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    top_ids = np.argsort(-probabilities, axis=1)
    top_probs = np.take_along_axis(probabilities, top_ids, axis=1)
    found: dict[str, Any] = {}

    def ours() -> None:
        pairs = Pairs(weak, (top_ids, top_probs), weak_vocabulary=classes)
        found["ours"] = count_pairs(pairs, ConfidentCounts(candidates="top_k")).counts.toarray()

    def theirs() -> None:
        found["theirs"] = compute_confident_joint(weak, probabilities, calibrate=False)

    def issues() -> None:
        found["issues"] = find_label_issues(
            weak, probabilities, filter_by="confident_learning", n_jobs=1
        ).sum()

    seconds = {"ours": best_of(3, ours), "joint": best_of(3, theirs), "issues": best_of(1, issues)}
    disagreed = found["ours"].sum() - np.trace(found["ours"])
    return {
        **seconds,
        "differing": int(np.abs(found["ours"] - found["theirs"]).sum()),
        "off_diagonal": int(disagreed),
        "found": int(found["issues"]),
    }


def megabytes(number: float) -> str:
    return f"{number / 2**20:,.0f} MB"


def report_small(pairs: int) -> None:
    seconds = in_subprocess("small_vocabulary", pairs=pairs)
    copy = seconds["copy into new arrays"]
    print(f"\n{pairs:,} int32 pairs, 200 × 200, validation included")
    for name, value in seconds.items():
        print(f"  {name:22s}{value * 1e3:10.1f} ms   {value / copy:8.2f} × copying both arrays")
    print(f"  scikit-learn takes {seconds['scikit-learn'] / seconds['count']:.0f} × our counting")


def report_large(pairs: int, classes: int = 20_000) -> None:
    print(f"\n{pairs:,} int32 pairs, {classes:,} × {classes:,}")
    ways = ("sublabel", "scipy", "polars", "duckdb")
    figures = {how: in_subprocess("count", how=how, pairs=pairs, classes=classes) for how in ways}
    ours, cells = figures["sublabel"]["seconds"], {entry["cells"] for entry in figures.values()}
    for how, entry in figures.items():
        print(
            f"  {how:22s}{entry['seconds'] * 1e3:10.1f} ms   {entry['seconds'] / ours:8.2f} × ours   "
            f"{megabytes(entry['extra']):>9s} extra at the peak"
        )
    print(f"  cells found: {', '.join(f'{number:,}' for number in cells)}")
    entry = in_subprocess("inspect", pairs=pairs, classes=classes)
    seconds, extra = f"{entry['seconds'] * 1e3:10.1f} ms", f"{megabytes(entry['extra']):>9s}"
    print(f"  inspect_confusion     {seconds}{'':18s}{extra} extra at the peak")


def report_tables(rows: int, folder: Path) -> None:
    predictions, ours = folder / "predictions.parquet", folder / "sublabel.parquet"
    times = {}
    for number in (rows // 100, rows // 10, rows):
        made = in_subprocess("make_predictions", path=str(predictions), rows=number, classes=200)
        if number < rows:
            figures = in_subprocess("relabel", how="sublabel", predictions=str(predictions), out=str(ours))
            times[number] = figures["seconds"]
    print(f"\n{rows:,} rows of predictions ({megabytes(made['bytes'])}), Parquet → Parquet")
    print(f"  raw SPL, cells under {MIN_COUNT} samples dropped")
    for how in ("sublabel", "duckdb", "polars", "duckdb, in order"):
        out = ours if how == "sublabel" else folder / "peer.parquet"
        figures = in_subprocess("relabel", how=how, predictions=str(predictions), out=str(out))
        times.setdefault(rows, figures["seconds"])
        same = ""
        if how != "sublabel":
            order = in_subprocess("same_rows", first=str(ours), second=str(out))["same"]
            same = "the same rows in the same order" if order else "rows in another order"
        print(
            f"  {how:18s}{figures['seconds']:8.1f} s {figures['seconds'] / times[rows]:6.2f} × ours"
            f"{figures['cpu']:8.1f} s of the cores{megabytes(figures['peak']):>10s} at the peak"
            f"{megabytes(figures['bytes']):>10s} written; {same}",
            flush=True,
        )
    exponent = fitted({(number, 1): seconds for number, seconds in times.items()})[0]
    points = ", ".join(f"{number:,} rows {seconds:.2f} s" for number, seconds in times.items())
    print(f"  ours: {points}: time ~ rows^{exponent:.2f}")


def report_curve(rows: int) -> None:
    print("\ncost curve, in memory: seconds to count, fit (raw SPL, min_count 10) and assign")
    points = {
        (samples, classes): in_subprocess("curve_point", samples=samples, classes=classes)
        for samples in (rows // 100, rows // 10, rows)
        for classes in (100, 1_000, 10_000)
    }
    for (samples, classes), entry in points.items():
        stages = "".join(f"  {stage} {entry[stage]:8.3f}" for stage in ("count", "fit", "assign"))
        cells, peak = f"{entry['cells']:>12,} cells", megabytes(entry["peak"])
        print(f"  {samples:>12,} rows, K = {classes:>6,}{stages}{cells}{peak:>10s}", flush=True)
    for stage in ("count", "fit", "assign"):
        by_rows, by_classes = fitted({point: entry[stage] for point, entry in points.items()})
        print(f"  {stage:7s}~ rows^{by_rows:.2f} × K^{by_classes:.2f}")


def fitted(seconds: dict[tuple[int, int], float]) -> tuple[float, float]:
    """Exponents of the two sizes, by least squares of the logarithms."""
    sizes = np.log(np.array(list(seconds), dtype=float))
    columns = np.column_stack([sizes, np.ones(len(sizes))])
    exponents = np.linalg.lstsq(columns, np.log(list(seconds.values())), rcond=None)[0]
    return float(exponents[0]), float(exponents[1])


def report_cleanlab(samples: int = 200_000, classes: int = 50) -> None:
    entry = in_subprocess("cleanlab", samples=samples, classes=classes)
    print(f"\n{samples:,} × {classes} probabilities: the confident joint")
    print(f"  sublabel                      {entry['ours'] * 1e3:10.1f} ms")
    names = {"joint": "cleanlab compute_confident_joint", "issues": "cleanlab find_label_issues"}
    for key, name in names.items():
        print(f"  {name:32s}{entry[key] * 1e3:8.1f} ms   {entry[key] / entry['ours']:6.2f} × ours")
    print(
        f"  samples that they place in another cell: {entry['differing'] // 2:,}; off the diagonal: "
        f"{entry['off_diagonal']:,}, label issues found: {entry['found']:,}"
    )


def main(
    rows: int = 100_000_000, pairs: int = 10_000_000, folder: str | None = None, task: str | None = None
) -> None:
    """Print the tables.

    Args:
        rows: Of the predictions table, and of the largest point of the cost curve.
        pairs: Of the counts in memory.
        folder: Where up to about 50 bytes a row are written; default: the system's temporary folder.
        task: For the processes that this one starts.
    """
    if task is not None:
        name, arguments = json.loads(task)
        print(json.dumps(TASKS[name](**arguments)))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    installed = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    print(f"{_processor()}, {cores} cores; Python {platform.python_version()}, {', '.join(installed)}")
    report_small(pairs)
    report_large(pairs)
    report_cleanlab()
    report_curve(rows)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        report_tables(rows, Path(scratch))


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", maxsplit=1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
