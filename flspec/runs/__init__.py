"""Runs and their folders: events recorded, models evaluated, results written; sweeps of many runs."""
