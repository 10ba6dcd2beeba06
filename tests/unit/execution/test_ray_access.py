"""A Ray that cannot keep strangers out is refused, before it is started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec_flower import ray_access

pytest.importorskip("ray")


@pytest.mark.parametrize(
    ("version", "is_open"),
    [("2.9.3", True), ("2.51.2", True), ("2.52.0", False), ("2.55.1", False), ("3.0.0rc1", False)],
)
def test_a_ray_that_knows_no_token_is_refused_with_a_way_out(
    version: str, is_open: bool, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_access, "version", lambda package: version)
    refusal = (
        f"backend: ray {version} runs code for whoever reaches its ports; install ray 2.52 or newer with "
        "pip install --upgrade 'flspec[flower]', or use flower:inprocess"
    )
    assert find_backend("flower").refusals(make_plan()) == ([refusal] if is_open else [])
    assert find_backend("flower:inprocess").refusals(make_plan()) == []


ASKS = """
import os
{before}
from flspec.errors import BackendError
from flspec_flower.ray_access import close_ray
try:
    close_ray()
except BackendError as error:
    print(error)
else:
    from ray._private.services import get_node_ip_address
    print("closed", get_node_ip_address(), len(os.environ["RAY_AUTH_TOKEN"]))
"""
REFUSED = "flower: this Ray would run code for whoever reaches its ports, because it was imported before flspec"


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("", "closed 127.0.0.1 64\n"),
        ("os.environ |= {'RAY_AUTH_MODE': 'disabled', 'RAY_AUTH_TOKEN': 'mine'}", "closed 127.0.0.1 64\n"),
        ("import ray", REFUSED),  # it has read the environment
    ],
)
def test_the_token_is_in_force_or_nothing_is_started(before: str, says: str) -> None:
    command = [sys.executable, "-c", ASKS.format(before=before)]
    assert subprocess.check_output(command, text=True, timeout=120).startswith(says)
