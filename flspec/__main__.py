"""`python -m flspec`, for where the `flspec` command is not on the path."""

from flspec.cli import main

main()
