"""A client's local training and a model's scores in torch, shared by every backend that runs torch."""
