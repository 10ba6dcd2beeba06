"""Execution of a plan: rounds, the server's step, worker processes, and the environments they need."""
