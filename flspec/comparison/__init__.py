"""Comparisons of executions: certificates, finished runs, and experiments before they run."""
