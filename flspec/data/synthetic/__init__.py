"""Synthetic twins: small data sets made in the layout of published ones."""
