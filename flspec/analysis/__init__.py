"""Numbers about a plan before it runs: skew, leakage, memory, time; and inventories of data sets."""
