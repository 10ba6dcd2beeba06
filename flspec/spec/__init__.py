"""The spec: reading it, saying what is wrong with it, and what it can say."""
