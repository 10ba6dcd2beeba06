"""The spec: its files, its validation, and lists of the keys and kinds that it can have."""
