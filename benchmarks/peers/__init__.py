"""Other simulators on the same work: `make peers` times them beside the floor and makes the table that they give."""
