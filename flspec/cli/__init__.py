"""The command line: arguments in, tables or JSON out; what it does lives in the library."""

from flspec.cli.main import main

__all__ = ["main"]
