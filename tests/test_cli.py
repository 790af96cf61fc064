from __future__ import annotations

import json
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.cli import main
from sublabel.inspection import inspect_confusion
from sublabel.tables import (
    PREDICTIONS_SCHEMA,
    PredictionsMetadata,
    TableWriter,
    count_table,
    read_relabeled,
    write_predictions,
)

NAMES = sl.Vocabulary(["baking cookies", "whisking eggs", "[red]abseiling"])


@pytest.fixture
def predictions(tmp_path):
    generator = np.random.default_rng(0)
    rows = [
        {"sample_id": str(i), "weak_label": NAMES[w], "top_ids": [t], "top_probs": [0.9], "status": "ok"}
        for i, (w, t) in enumerate(generator.integers(0, 3, (200, 2)).tolist())
    ]
    with TableWriter(
        tmp_path / "p.parquet", PREDICTIONS_SCHEMA, PredictionsMetadata(NAMES, NAMES, "x").to_strings()
    ) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA))
    return tmp_path / "p.parquet"


def run(capsys, *arguments):
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_relabel_then_inspect(predictions, tmp_path, capsys):
    out = tmp_path / "r.parquet"
    options = ("--strategy.kind", "raw_spl", "--strategy.min_count", "20", "--strategy.rare", "drop")
    code, text, _ = run(capsys, "relabel", predictions, *options, "-o", out, "--space", tmp_path / "s.json")
    assert code == 0
    table = read_relabeled(out)
    assert table.space.strategy == {"kind": "raw_spl", "min_count": 20, "rare": "drop"}
    assert sl.LabelSpace.load(tmp_path / "s.json") == table.space
    assert f"kept in {table.space.num_classes} classes" in text

    for path in (out, tmp_path / "s.json"):
        code, text, _ = run(capsys, "inspect", path)
        assert code == 0
        assert table.space.fingerprint in text
        assert "raw_spl" in text


def test_inspect_shows_agreement_occupancy_and_names(predictions, capsys):
    code, text, _ = run(capsys, "inspect", predictions)
    agreed = sum(
        row["weak_label"] == NAMES[row["top_ids"][0]] for row in pq.read_table(predictions).to_pylist()
    )
    assert code == 0
    assert "[weak, teacher] = 3 × 3" in text
    assert f"agreement: {agreed} ({agreed / 200:.1%})" in text
    assert "occupancy: 9 (100.0%) of the cells" in text
    assert "[red]abseiling" in text
    assert "SPL" in text or "spl_b" in text


def test_inspect_prints_json_with_the_same_numbers(predictions, capsys):
    code, text, _ = run(capsys, "inspect", predictions, "--json", "--rare", "24", "--feature_width", "10")
    assert code == 0
    found = json.loads(text)
    expected = inspect_confusion(
        count_table(predictions), rare=24, feature_width=10, count=partial(count_table, predictions)
    )
    lacking = {cost.strategy["kind"]: cost.problem for cost in expected.strategies if cost.problem}
    assert list(lacking) == ["denoised_spl"]
    assert "has no column features" in lacking["denoised_spl"]
    assert found == json.loads(json.dumps(expected.to_dict()))


@pytest.mark.parametrize("kind", ["r.parquet", "s.json"])
def test_inspect_prints_a_label_space_as_json(kind, predictions, tmp_path, capsys):
    run(capsys, "relabel", predictions, "-o", tmp_path / "r.parquet", "--space", tmp_path / "s.json")
    space = sl.LabelSpace.load(tmp_path / "s.json")
    code, text, _ = run(capsys, "inspect", tmp_path / kind, "--json", "--largest", "2")
    assert code == 0
    found = json.loads(text)
    assert set(found) == {
        *("format", "version", "strategy", "fingerprint", "weak_classes", "teacher_classes"),
        *("classes", "samples", "kinds", "largest"),
    }
    assert found["fingerprint"] == space.fingerprint
    assert found["classes"] == sum(entry["classes"] for entry in found["kinds"].values()) == 9
    assert found["samples"] == sum(entry["samples"] for entry in found["kinds"].values()) == 200
    sizes = [space.describe(label).size for label in range(9) if space.kinds[label] == "disagreed"]
    assert [entry["size"] for entry in found["largest"]] == sorted(sizes, reverse=True)[:2]


@pytest.mark.parametrize("length", [1, 40])
def test_everything_fits_80_columns(length, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = sl.Vocabulary([f"{index:03d} {'long ' * length}name" for index in range(60)])
    generator = np.random.default_rng(0)
    weak = generator.integers(0, 50, 3000)
    teacher = np.where(generator.random(3000) < 0.5, weak, generator.integers(0, 50, 3000))
    teacher[weak == 1] = 0
    path = tmp_path / "p.parquet"
    metadata = PredictionsMetadata(names, names, "x").to_strings()
    rows = [
        {"sample_id": str(i), "weak_label": names[w], "top_ids": [t], "top_probs": [0.9], "status": "ok"}
        for i, (w, t) in enumerate(zip(weak.tolist(), teacher.tolist(), strict=True))
    ]
    with TableWriter(path, PREDICTIONS_SCHEMA, metadata) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA))
    assert run(capsys, "relabel", path, "-o", tmp_path / "r.parquet")[0] == 0
    for shown in (path, tmp_path / "r.parquet"):
        code, text, _ = run(capsys, "inspect", shown)
        assert code == 0
        assert len(text.splitlines()) > 10
        widest = max(text.splitlines(), key=len)
        assert len(widest) <= 80, widest


def test_inspect_warns_in_the_text(tmp_path, capsys):
    path = tmp_path / "p.parquet"
    rows = [
        {
            "sample_id": str(i),
            "weak_label": NAMES[i % 3],
            "top_ids": [i % 3],
            "top_probs": [1],
            "status": "ok",
        }
        for i in range(30)
    ]
    with TableWriter(path, PREDICTIONS_SCHEMA, PredictionsMetadata(NAMES, NAMES, "x").to_strings()) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA))
    _, text, _ = run(capsys, "inspect", path)
    assert "Warning: The teacher agrees with 100.0% of the weak labels" in " ".join(text.split())


def test_inspect_without_probabilities_says_why_rows_are_missing(predictions, tmp_path, capsys):
    table = pq.read_table(predictions)
    pq.write_table(table.drop_columns(["top_probs"]), tmp_path / "without.parquet")
    code, text, _ = run(capsys, "inspect", tmp_path / "without.parquet")
    assert code == 0
    said = " ".join(text.split())
    for kind in ("confident_spl", "top_k_spl"):
        assert f"{kind} is not in the table:" in said
        assert f"│ {kind}" not in text
    assert "has no column top_probs" in said


def test_no_bar_is_drawn_where_there_is_no_terminal(predictions, tmp_path, capsys):
    code, _, err = run(capsys, "relabel", predictions, "-o", tmp_path / "r.parquet", "--threads", "2")
    assert (code, err) == (0, "")


def test_a_bar_is_drawn_on_a_terminal(predictions, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, _, err = run(capsys, "relabel", predictions, "-o", tmp_path / "r.parquet")
    assert "200 rows" in err
    assert "count" in err
    assert "relabel" in err


def test_nested_options_and_alignments(predictions, tmp_path, capsys):
    options = (
        "--strategy.kind=matched_control",
        "--strategy.of.min_count=9",
        "--strategy.of.rare",
        "drop",
        "--strategy.seed=4",
    )
    assert run(capsys, "relabel", predictions, *options, "-o", tmp_path / "a.parquet")[0] == 0
    expected = sl.MatchedControl(of=sl.RawSPL(min_count=9, rare="drop"), seed=4)
    assert read_relabeled(tmp_path / "a.parquet").space.strategy == expected.to_dict()
    alignment = '{"baking cookies": ["whisking eggs", "baking cookies"]}'
    options = ("--strategy.kind=agreement_filter", "--alignment", alignment)
    assert run(capsys, "relabel", predictions, *options, "-o", tmp_path / "b.parquet")[0] == 0
    assert read_relabeled(tmp_path / "b.parquet").space.names == ("baking cookies",)


@pytest.mark.parametrize("name", ["alignment.json", "alignment.yaml"])
@pytest.mark.parametrize("command", ["relabel", "inspect"])
def test_a_file_holds_the_alignment(command, name, predictions, tmp_path, capsys):
    alignment = {"baking cookies": ["whisking eggs", "baking cookies"]}
    text = "baking cookies:\n- whisking eggs\n- baking cookies\n"
    (tmp_path / name).write_text(json.dumps(alignment) if name.endswith("json") else text, encoding="utf-8")
    out = [] if command == "inspect" else ["--strategy.kind=agreement_filter", "-o", tmp_path / "r.parquet"]
    code, said, _ = run(capsys, command, predictions, *out, "--alignment", tmp_path / name)
    assert code == 0
    if command == "relabel":
        assert read_relabeled(tmp_path / "r.parquet").space.names == ("baking cookies",)
    else:
        assert "2 weak classes have no teacher class that agrees with them" in " ".join(said.split())


def test_an_interruption_ends_with_one_line_and_exit_code_130(predictions, capsys, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sublabel.cli.commands.count_table", interrupt)
    assert run(capsys, "inspect", predictions) == (130, "", "sublabel inspect: interrupted\n")


def test_names_with_colons_are_printed_as_they_are(tmp_path, capsys):
    path, names = tmp_path / "p.parquet", ["say :smile:", ":cat:"]
    write_predictions(path, sl.Pairs([0, 0, 1], [0, 1, 1], weak_vocabulary=names, sample_ids=[1, 2, 3]))
    run(capsys, "relabel", path, "-o", tmp_path / "r.parquet")
    for shown in (path, tmp_path / "r.parquet"):
        _, text, _ = run(capsys, "inspect", shown)
        assert "say :smile: × :cat:" in text


def test_a_yaml_file_holds_the_options(predictions, tmp_path, capsys):
    code, text, _ = run(capsys, "relabel", "p", "--strategy.kind", "spl_b", "-o", "x", "--print_config")
    assert code == 0
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    out = tmp_path / "r.parquet"
    assert run(capsys, "relabel", "--config", tmp_path / "c.yaml", predictions, "-o", out)[0] == 0
    assert read_relabeled(out).space.strategy == {"kind": "spl_b"}


def test_strategies_lists_them_all(capsys):
    code, text, _ = run(capsys, "strategies")
    assert code == 0
    assert all(kind in text for kind in sl.strategies())


class Mine(sl.Strategy):
    """Each weak class in two: what holds many samples, and what does not."""

    many: int = 20

    def class_of(self, cell):
        return f"{cell.weak}, {'many' if cell.count >= self.many else 'few'}"


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (["spl_b"], {"kind": "spl_b"}),
        (["{kind: raw_spl, min_count: 3}"], {"kind": "raw_spl", "min_count": 3, "rare": "disagreed"}),
        ([f"{__name__}:Mine"], {"kind": f"{__name__}:Mine", "many": 20}),
    ],
)
def test_a_strategy_is_named_by_its_kind_or_import_path(given, stored, predictions, tmp_path, capsys):
    out = tmp_path / "r.parquet"
    assert run(capsys, "relabel", predictions, "--strategy", *given, "-o", out)[0] == 0
    assert read_relabeled(out).space.strategy == stored


def test_a_strategy_of_ones_own_takes_options(predictions, tmp_path, capsys):
    options = (f"--strategy.kind={__name__}:Mine", "--strategy.many=1000")
    assert run(capsys, "relabel", predictions, *options, "-o", tmp_path / "r.parquet")[0] == 0
    space = read_relabeled(tmp_path / "r.parquet").space
    assert space.strategy == {"kind": f"{__name__}:Mine", "many": 1000}
    assert set(space.names) == {f"{name}, few" for name in NAMES}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("relabel", "nothing.parquet", "-o", "x"), "there is no file or folder nothing.parquet"),
        (
            ("relabel", "{p}", "--strategy.kind", "spl", "-o", "x"),
            "no strategy is called 'spl'; there are weak_only",
        ),
        (
            ("relabel", "{p}", "--strategy.min_count", "0", "-o", "x"),
            "min_count: Input should be greater than 0",
        ),
        (
            ("relabel", "{p}", "--strategy.min_counts", "2", "-o", "x"),
            "min_counts: Extra inputs are not permitted",
        ),
        (("relabel", "{p}"), "output"),
        (
            ("relabel", "{p}", "-o", "x", "--alignment", '{"zumba": "baking cookies"}'),
            "'zumba' is not in the vocabulary",
        ),
        (("relabel", "{p}", "-o", "x", "--threads", "0"), "threads is 0"),
        (("relabel", "{p}", "-o", "{p}"), "would be lost"),
        (("relabel", "{p}", "-o", "x", "--space", "{p}"), "would be lost"),
        (("relabel", "{p}", "-o", "x", "--space", "./x"), "--space and --output are both ./x"),
        (("relabel", "{p}", "-o", "{tmp}"), "is a folder; name a file in it"),
        (("relabel", "{p}", "-o", "x", "--space", "{tmp}"), "is a folder; name a file in it"),
        (("report", "{p}", "-o", "{tmp}"), "is a folder; name a file in it"),
        (("relabel", "{p}", "-o", "s3://bucket/x"), "cannot write to s3://bucket/x: expected a local path"),
        (("inspect", "{p}", "--rare", "0"), "rare is 0"),
        (("inspect", "{tmp}/text.txt"), "is not a Parquet file"),
        (("inspect", "{tmp}/bad.json"), "not a label space"),
        (("inspect", "{tmp}/table.parquet"), "is not a predictions table"),
        (("frobnicate",), "frobnicate"),
        ((), "command"),
    ],
)
def test_a_users_mistake_ends_with_one_message_and_exit_code_2(
    predictions, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "table.parquet")
    places = {"{p}": str(predictions), "{tmp}": str(tmp_path)}
    filled = [reduce(lambda text, item: text.replace(*item), places.items(), text) for text in arguments]
    code, _, err = run(capsys, *filled)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("given", [("--strategy", "raw_spl"), ("--strategy=raw_spl",)])
def test_a_kind_keeps_its_options(given, predictions, tmp_path, capsys):
    out = tmp_path / "r.parquet"
    options = ("--strategy.min_count", "20", "--strategy.rare=drop")
    for arguments in ((*given, *options), (*options, *given)):
        assert run(capsys, "relabel", predictions, *arguments, "-o", out)[0] == 0
        stored = read_relabeled(out).space.strategy
        assert stored == {"kind": "raw_spl", "min_count": 20, "rare": "drop"}
