"""What is not installed is refused in one line that says what to install, wherever a user comes in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sublabel.errors import ConfigError
from sublabel.extras import MissingExtraError, needs_extra
from sublabel.media.domain import load_domain

REPORT = "sys.argv = ['sublabel', 'report', 'study']\nfrom sublabel.cli import main\nsys.exit(main())"
EXPLAIN = REPORT.replace("'report', 'study'", "'explain', 'study', '--model', 'm', '--label', 'c'")
VIDEO = """
sys.argv = ["sublabel-video", "--help"]
from sublabel.cli.plugins import sublabel_video
sys.exit(sublabel_video())
"""


def run_without(library, code):
    """Run Python where a library is not installed."""
    script = f"import sys\nsys.modules[{library!r}] = None\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("domain", "library"),
    [("image", "timm"), ("image", "PIL"), ("video", "av"), ("video", "pytorchvideo"), ("video", "timm")],
)
@pytest.mark.parametrize(
    "code", ["import sublabel_{}", "import sublabel.media.domain as d; d.load_domain('{}')"]
)
def test_a_domain_names_its_own_extra(domain, library, code):
    done = run_without(library, code.format(domain))
    assert done.stderr.splitlines()[-1] == (
        f"sublabel.extras.MissingExtraError: the domain '{domain}' needs {library}, which is not installed: "
        f"pip install 'sublabel[{domain}]'"
    )


@pytest.mark.parametrize(
    ("code", "library", "message"),
    [
        (REPORT, "altair", "sublabel report: error: the report needs altair, {} 'sublabel[report]'"),
        (REPORT, "vl_convert", "sublabel report: error: the report needs vl_convert, {} 'sublabel[report]'"),
        (EXPLAIN, "captum", "sublabel explain: error: Grad-CAM needs captum, {} 'sublabel[explain]'"),
        (VIDEO, "av", "sublabel-video: error: the domain 'video' needs av, {} 'sublabel[video]'"),
    ],
)
def test_a_command_ends_with_that_one_line_and_exit_code_2(code, library, message):
    done = run_without(library, code)
    expected = message.format("which is not installed: pip install") + "\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """Install a distribution `acme-text` that offers a domain."""

    def install(code, *metadata):
        (tmp_path / "acme_text.py").write_text(code, encoding="utf-8")
        info = tmp_path / "acme_text-1.0.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", "Name: acme-text", "Version: 1.0", *metadata]
        (info / "METADATA").write_text("\n".join(lines), encoding="utf-8")
        points = "[sublabel.domains]\nbig_text = acme_text:Text\n"
        (info / "entry_points.txt").write_text(points, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield install
    sys.modules.pop("acme_text", None)


@pytest.mark.parametrize(
    ("metadata", "requirement"),
    [((), "acme-text"), (("Provides-Extra: big-text",), "acme-text[big-text]")],
)
def test_a_domain_of_others_names_what_provides_it(acme, metadata, requirement):
    acme("import choirbook", *metadata)
    with pytest.raises(ConfigError) as raised:
        load_domain("big_text")
    assert str(raised.value) == (
        f"the domain 'big_text' needs choirbook, which is not installed: pip install '{requirement}'"
    )


def test_what_is_there_but_broken_is_not_said_to_be_missing(acme):
    acme("import json.nothing")
    with pytest.raises(ModuleNotFoundError, match=r"json\.nothing") as raised:
        load_domain("big_text")
    assert not isinstance(raised.value, MissingExtraError)


def test_the_outermost_block_names_what_the_user_asked_for():
    with (
        pytest.raises(MissingExtraError, match="^the play needs choirbook, .* 'theatre'$") as raised,
        needs_extra("the play", "theatre"),
        needs_extra("its choir", "choir"),
    ):
        import choirbook  # noqa: F401
    assert raised.value.name == "choirbook"
    # Whoever tries an import and goes on without it can.
    assert isinstance(raised.value, ImportError)
