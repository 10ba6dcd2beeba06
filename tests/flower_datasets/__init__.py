"""Flower Datasets in an environment of its own: making it, and asking it for partitions."""
