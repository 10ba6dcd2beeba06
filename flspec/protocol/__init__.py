"""The interface between flspec and its engines: plans, states, updates, events, records and `Backend`."""
