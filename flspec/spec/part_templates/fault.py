"""A fault: what goes wrong with some of the clients' tasks. In a spec:

parts: [my_fault.py]
faults: [{kind: my_fault, share: 0.5, count: 1}]
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from flspec.core.randomness import Stream
from flspec.faults import UpdateFault
from flspec.protocol.updates import Delta


class MyFault(UpdateFault):
    """A client sends only a share of what it learned."""

    kind: Literal["my_fault"] = "my_fault"
    share: Annotated[float, Field(ge=0, le=1, description="of each value that is sent", examples=[0.5])]

    def updates(self, own: Sequence[Delta], honest: Sequence[Delta], streams: Sequence[Stream]) -> Sequence[Delta]:
        """Return what the tasks that are hit send, float64 by name. To draw from `streams`, say `is_random = True`.

        `honest` has the other clients' updates of the round if the class says `knows_all = True`.
        """
        return [{name: self.share * value for name, value in delta.items()} for delta in own]
