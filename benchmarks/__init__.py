"""What flspec costs, beside what it cannot cost less than. `make bench` runs these and compares with the baseline."""
