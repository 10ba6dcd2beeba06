"""What clients keep from round to round, before they have: it is made for a client when it first takes part.

The clients of a state are those that have taken part, so its memory and its file follow the rounds that were, not the
clients that are to come. Whoever is not among them has what each client has before its first round.
"""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

from flspec.execution.server_step import initial_client_records
from flspec.protocol.named_records import Records
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState

__all__ = ["first_client_state", "state_of_client", "with_every_participant"]

_first: WeakKeyDictionary[Plan, Records] = WeakKeyDictionary()


def first_client_state(plan: Plan) -> Records:
    """Return what every client keeps before its first round; nothing may change it."""
    if plan not in _first:
        _first[plan] = {**({"weights": plan.local} if plan.local else {}), **initial_client_records(plan)}
    return _first[plan]


def state_of_client(plan: Plan, state: ServerState, client: int) -> Records:
    """Return what a client keeps after the rounds of `state`."""
    return state.clients.get(client) or first_client_state(plan)


def with_every_participant(plan: Plan, state: ServerState) -> ServerState:
    """Return the state with all clients that take part in a round of the plan, be it a later one.

    For comparisons: of a client that takes part for the first time, what it began with counts, too.
    """
    first = first_client_state(plan)
    return replace(state, clients={**dict.fromkeys(plan.participants, first), **state.clients}) if first else state
