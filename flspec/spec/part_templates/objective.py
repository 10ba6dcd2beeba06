"""An objective: the loss of a step, from a batch and the model. In a spec:

parts: [my_objective.py]
client: {objective: {kind: my_objective, strength: 0.01}}
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from flspec.objectives import Objective


class MyObjective(Objective):
    """The loss, and a penalty on the squares of the outputs."""

    kind: Literal["my_objective"] = "my_objective"
    strength: Annotated[float, Field(ge=0, le=1e6, description="factor of the penalty")] = 0.01

    def torch(self, step: Any) -> tuple[Any, Mapping[str, float]]:
        """Return the loss of a step, and sums over the batch's examples by name, the same names in each step."""
        outputs = step.forward(step.inputs)
        loss = step.loss(outputs) + self.strength * outputs.pow(2).mean()
        return loss, {"loss": loss.item() * len(step.labels), "accuracy": step.num_correct(outputs)}
