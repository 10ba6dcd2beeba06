"""What only some plans have, and every reader has to know."""

from __future__ import annotations

__all__ = ["FEATURES"]

# Features that only some plans have: mostly a key of the settings or arrays, and the spec field that asks for it.
# A backend that ignores one of them carries out another experiment without noticing; see
# `flspec.protocol.backend.Backend.reads`.
FEATURES = {
    "clip": "client.clip",
    "label_weights": "client.label_weights",
    "epochs": "client.optimizer.schedule or client.algorithm",
    "client_rates": "client.optimizer.schedule",
    "server_rates": "aggregator.schedule",
    "loss": "client.loss",
    "state": "client.optimizer.state",
    "batch_rule": "rounds: batches that a plan does not hold but says how to draw",
    "task_seeds": "model or dataset: dropout, or random transforms",
    "constants": "model: tensors that never change",
    "statistics": "model: statistics that training updates",
    "local": "model: tensors that stay with each client",
    "client_algorithm": "client.algorithm",
    "objective": "client.objective",
    "networks": "model: several networks",
    "phases": "client.objective",
    "optimizers": "client.objective",
    "postprocessors": "postprocessors",
    "private_steps": "privacy",
    "secret_noise": "privacy.seed",
    "repeats": "cohort: clients that are drawn several times in a round",
    "compression": "compression",
    "task_faults": "faults",
    "min_clients": "min_clients",
    "secure_aggregation": "secure_aggregation",
}
