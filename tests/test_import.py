from __future__ import annotations

import subprocess
import sys

import sublabel

HEAVY = ("torch", "torchvision", "timm", "pytorchvideo", "av", "lightning")


def loaded_after(code):
    script = f"{code}\nimport sys; print([m for m in {HEAVY} if m in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_import_loads_nothing_heavy():
    assert loaded_after("import sublabel") == "[]"
    assert loaded_after("import sublabel; assert 'numpy' not in __import__('sys').modules") == "[]"


def test_the_label_algebra_and_the_command_line_need_no_torch():
    code = "import sublabel as sl, sublabel.cli, sublabel.sources; sl.relabel(sl.Pairs([0], [1])).labels"
    assert loaded_after(code) == "[]"


def test_labels_of_any_strategy_need_neither_torch_nor_a_table_library():
    code = (
        "import sys, sublabel as sl; pairs = sl.Pairs([0, 1], ([1, 1], [0.5, 0.5]), sample_ids=['a', 'b'], "
        "features=[[0.0], [1.0]]); "
        "[sl.relabel(pairs, model()).targets for model in sl.strategies().values()]; "
        "assert not {'pandas', 'polars', 'pyarrow', 'jax'} & set(sys.modules)"
    )
    assert loaded_after(code) == "[]"


def test_every_public_name_is_there():
    assert set(sublabel.__all__) <= set(dir(sublabel))
    assert all(getattr(sublabel, name).__name__ == name for name in sublabel.__all__)


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(sublabel, "nothing_of_that_name")
