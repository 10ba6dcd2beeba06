"""flspec: write a federated-learning experiment once; know that every backend ran the same thing."""
