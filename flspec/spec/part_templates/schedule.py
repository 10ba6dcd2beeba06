"""A schedule of a learning rate. In a spec:

parts: [my_schedule.py]
client: {optimizer: {kind: sgd, learning_rate: 0.1, schedule: {kind: my_schedule, power: 0.5}}}
"""

from typing import Annotated, Literal

from pydantic import Field

from flspec.schedules import Schedule


class MySchedule(Schedule):
    """1 / t^power in round t."""

    kind: Literal["my_schedule"] = "my_schedule"
    power: Annotated[float, Field(ge=0, le=100, description="how fast it falls")] = 1.0

    def factor(self, number: int, total: int) -> float:
        """Return what the learning rate is multiplied by in round `number`, from 1, of `total`."""
        return float(number**-self.power)
