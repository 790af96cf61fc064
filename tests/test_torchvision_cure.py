"""The cure for torchvision beside a torch it was not built for, each claim in an interpreter of its own."""

import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from textwrap import dedent

import pydantic_core._pydantic_core
import pytest

ROOT = Path(__file__).parents[1]

# What torchvision's compiled library does when it loads, and what torchvision does after that.
FAKE_TORCHVISION = """
from pathlib import Path
import torch

library = next(Path(__file__).parent.glob("_C*"))
try:
    torch.ops.load_library(library)
except OSError:
    healthy = False
else:
    healthy = True
    compiled = torch.library.Library("torchvision", "DEF")
    compiled.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    compiled.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

for name in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{name}", lambda dets, scores, iou_threshold: dets)
"""


def run_python(code: str, *search_path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds `search_path` and the repository before anything else."""
    first = f"import sys; sys.path[:0] = {[str(path) for path in (*search_path, ROOT, ROOT / 'domains')]}\n"
    return subprocess.run(
        [sys.executable, "-c", first + dedent(code)], capture_output=True, text=True, timeout=300, check=False
    )


def check_python(code: str, *search_path: Path) -> None:
    """Run code likewise; it must end without an error."""
    done = run_python(code, *search_path)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def broken_torchvision() -> None:
    """Skip where the installed torchvision is healthy, as it is beside the torch that it was built for."""
    plain = run_python("import torch, torchvision")
    if plain.returncode == 0:
        pytest.skip("torchvision's compiled library loads here")
    assert "operator torchvision::nms does not exist" in plain.stderr


@pytest.fixture
def fake_torchvision(tmp_path: Path) -> Path:
    """A folder with a torchvision whose compiled library is not there yet; the test puts it there."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE_TORCHVISION)
    return package


@pytest.mark.usefixtures("broken_torchvision")
def test_torchvision_and_what_imports_it_work_with_the_cure():
    check_python(
        """
        from sublabel import torchvision_cure
        torchvision_cure.ensure_torchvision()
        import lightning, timm, torch, torchmetrics, torchvision
        from torchvision.transforms import v2
        assert v2.Resize(4)(torch.zeros(3, 8, 8)).shape == (3, 4, 4)
        torchvision_cure.ensure_torchvision()
        assert len(torchvision_cure._definitions) == 1
        """
    )


@pytest.mark.usefixtures("broken_torchvision")
def test_the_cure_works_after_a_failed_import():
    check_python(
        """
        import torch
        try:
            import torchvision
        except RuntimeError:
            from sublabel.torchvision_cure import ensure_torchvision
            ensure_torchvision()
        from torchvision.transforms import v2
        """
    )


@pytest.mark.usefixtures("broken_torchvision")
@pytest.mark.parametrize("entry", ["sublabel.training", "sublabel.teacher", "sublabel_image"])
def test_every_entry_passes_through_the_cure(entry: str):
    check_python(f"import {entry}, torchvision")


@pytest.mark.parametrize("folder", ["recipes", "benchmarks"])
def test_every_script_starts_wherever_torchvision_is_broken(folder: str):
    scripts = sorted((ROOT / folder).glob("*.py"))
    assert scripts
    for script in scripts:
        check_python(
            f"""
            import runpy
            sys.argv = ["script", "--help"]
            try:
                runpy.run_path({str(script)!r}, run_name="__main__")
            except SystemExit as end:
                assert end.code == 0, end.code
            """
        )


@pytest.mark.usefixtures("broken_torchvision")
def test_a_spawned_worker_passes_through_the_cure(tmp_path: Path):
    (tmp_path / "resized.py").write_text(
        dedent(
            """
            import sublabel_image
            from torch.utils.data import Dataset
            from torchvision.transforms import v2
            import torch

            class Resized(Dataset):
                def __len__(self):
                    return 2

                def __getitem__(self, index):
                    return v2.Resize(4)(torch.full((3, 8, 8), float(index)))
            """
        )
    )
    check_python(
        """
        from resized import Resized
        from torch.utils.data import DataLoader

        loader = DataLoader(Resized(), batch_size=2, num_workers=1, multiprocessing_context="spawn")
        assert next(iter(loader)).shape == (2, 3, 4, 4)
        """,
        tmp_path,
    )


def test_a_healthy_torchvision_is_left_alone(fake_torchvision: Path):
    loadable = Path(pydantic_core._pydantic_core.__file__)
    (fake_torchvision / f"_C{EXTENSION_SUFFIXES[-1]}").symlink_to(loadable)
    check_python(
        """
        from sublabel import torchvision_cure
        torchvision_cure.ensure_torchvision()
        import torchvision
        torchvision_cure.ensure_torchvision()
        assert torchvision.healthy and not torchvision_cure._definitions
        """,
        fake_torchvision.parent,
    )


def test_a_library_that_cannot_load_is_cured_anywhere(fake_torchvision: Path):
    (fake_torchvision / f"_C{EXTENSION_SUFFIXES[-1]}").write_bytes(b"built for another machine")
    plain = run_python("import torchvision", fake_torchvision.parent)
    assert "operator torchvision::nms does not exist" in plain.stderr
    check_python(
        """
        from sublabel.torchvision_cure import ensure_torchvision
        ensure_torchvision()
        import torchvision
        assert not torchvision.healthy
        """,
        fake_torchvision.parent,
    )


def test_nothing_happens_without_torchvision():
    check_python(
        """
        sys.modules["torchvision"] = None
        from sublabel.torchvision_cure import ensure_torchvision
        ensure_torchvision()
        assert "torch" not in sys.modules
        """
    )
