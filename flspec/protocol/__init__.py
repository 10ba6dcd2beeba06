"""What flspec and its engines say to each other: plans, states, updates, events, records, and the backend interface."""
