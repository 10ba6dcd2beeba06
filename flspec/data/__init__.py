"""Examples, the store that every process maps into memory, and readers of published files."""
