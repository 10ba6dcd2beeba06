"""pfl-research (Granqvist et al., NeurIPS 2024): its FederatedAveraging in torch, on its simulated backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.base import Absent, Simulator, client_arrays
from benchmarks.peers.environment import ENVIRONMENT
from flspec.protocol.plan import Plan


class PflResearch(Simulator):
    """Users' tensors stay in memory, as in its own benchmarks; no evaluation."""

    name = "pfl"
    title = "pfl-research 0.6"

    def python(self) -> Path:
        if (python := ENVIRONMENT.find_python()) is None:
            raise Absent("not installed; python -m benchmarks.peers.environment makes its environment")
        return python

    def run(self, plan: Plan, rounds: int, after_round: Callable[[], None]) -> None:
        import torch
        from pfl.aggregate.simulate import SimulatedBackend
        from pfl.aggregate.weighting import WeightByDatapoints
        from pfl.algorithm.base import NNAlgorithmParams
        from pfl.algorithm.federated_averaging import FederatedAveraging
        from pfl.callback.base import TrainingProcessCallback
        from pfl.data.federated_dataset import FederatedDataset
        from pfl.data.pytorch import PyTorchTensorDataset
        from pfl.data.sampling import MinimizeReuseUserSampler
        from pfl.hyperparam.base import NNTrainHyperParams
        from pfl.metrics import Metrics
        from pfl.model.pytorch import PyTorchModel

        torch.set_num_threads(1)

        class AfterRound(TrainingProcessCallback):
            def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Any]:
                after_round()
                return False, Metrics()

        users = {
            number: PyTorchTensorDataset((torch.from_numpy(x), torch.from_numpy(y)), user_id=str(number))
            for number, (x, y) in enumerate(client_arrays(plan))
        }
        data = FederatedDataset(users.__getitem__, MinimizeReuseUserSampler(list(users)))
        module = _module(plan)
        FederatedAveraging().run(
            algorithm_params=NNAlgorithmParams(
                central_num_iterations=rounds,
                evaluation_frequency=rounds + 1,
                train_cohort_size=len(users),
                val_cohort_size=0,
            ),
            backend=SimulatedBackend(training_data=data, val_data=data, postprocessors=[WeightByDatapoints()]),
            model=PyTorchModel(
                model=module,
                local_optimizer_create=torch.optim.SGD,
                central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0),
            ),
            model_train_params=NNTrainHyperParams(
                local_num_epochs=1,
                local_learning_rate=plan.settings.client_optimizer["learning_rate"],
                local_batch_size=max(plan.batch_sizes),
            ),
            callbacks=[AfterRound()],
        )


def _module(plan: Plan) -> Any:
    """The floor's module, with the two functions that pfl asks of one."""
    import torch.nn.functional as F  # noqa: N812
    from torch import nn

    from benchmarks.floor_models import module_of
    from flspec.execution.parts import network_of

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module_of(network_of(plan))

        def loss(self, x: Any, y: Any, **_: Any) -> Any:
            return F.cross_entropy(self.network(x), y)

        def metrics(self, x: Any, y: Any, **_: Any) -> dict[str, Any]:
            from pfl.metrics import Weighted

            return {"loss": Weighted(float(self.loss(x, y)) * len(y), len(y))}

    return Module()
