"""The command line: relabel predictions, look at what they say, list the strategies."""

from sublabel.cli.commands import main, parser

__all__ = ["main", "parser"]
