"""Compilation of a spec into a plan. Every random draw is made here, once."""
