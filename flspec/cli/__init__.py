"""The command line: arguments in, tables or JSON out; the library does the work."""

from flspec.cli.main import main

__all__ = ["main"]
