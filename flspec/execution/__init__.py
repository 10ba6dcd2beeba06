"""Carrying a plan out: rounds, the server's step, worker processes, and the environments they need."""
