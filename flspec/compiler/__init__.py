"""From a spec to a plan: every random draw is made here, once."""
