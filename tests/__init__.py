"""Tests by kind: unit, properties, conformance, golden, and what holds the repository together."""
