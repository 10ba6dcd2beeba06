"""A run and its folder: events recorded, models evaluated, results written; sweeps of many runs."""
