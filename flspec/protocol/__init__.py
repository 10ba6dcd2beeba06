"""What flspec and its engines say to each other: plans, states, updates, events, and the backend interface."""
