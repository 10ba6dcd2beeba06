"""Keeps everybody else out of the Ray that a run starts.

Ray runs any code that it is sent, for whoever reaches one of its ports. So every call must carry a token, a random
number of this process, and all ports are bound to the loopback address. Ray and the processes that it starts take both
from the environment, which other users cannot read.
"""

from __future__ import annotations

import importlib
import os
import re
import secrets
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flspec.errors import BackendError

__all__ = ["LOCAL_ONLY", "close_ray", "why_open"]

_FIRST_WITH_TOKENS = (2, 52)
_TOKEN = secrets.token_hex(32)  # of the process, since Ray reads it once

# Arguments of `ray.init`: a Ray of its own, even where RAY_ADDRESS names another, that no other machine can address.
LOCAL_ONLY: dict[str, Any] = {"address": "local", "_node_ip_address": "127.0.0.1", "include_dashboard": False}


def why_open() -> str | None:
    """Return why the installed Ray cannot keep others out, or None if it can. Does not import it."""
    try:
        installed = version("ray")
    except PackageNotFoundError:
        return None  # which is told elsewhere
    if tuple(map(int, re.findall(r"\d+", installed)[:2])) >= _FIRST_WITH_TOKENS:
        return None
    return (
        f"backend: ray {installed} runs code for whoever reaches its ports; install ray 2.52 or newer with "
        "pip install --upgrade 'flspec[flower]', or use flower:inprocess"
    )


def close_ray() -> None:
    """Have the Ray that this process starts next demand the token, and bind to the loopback address.

    Raises BackendError if the Ray that is imported here would not.
    """
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _TOKEN,
        # Without this, Ray on Linux replaces 127.0.0.1 by an address that others can reach.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    if not _demands_token():
        raise BackendError(
            "flower: this Ray would run code for whoever reaches its ports, because it was imported before flspec "
            "could set its token, or has none; use flower:inprocess"
        )


def _demands_token() -> bool:
    services: Any = importlib.import_module("ray._private.services")
    core: Any = importlib.import_module("ray._raylet")  # its types do not know what is asked for here
    try:
        asks = core.get_authentication_mode() == core.AuthenticationMode.TOKEN
        has_token = core.AuthenticationTokenLoader.instance().has_token()
    except AttributeError:
        return False
    return bool(asks and has_token and services.get_node_ip_address() == "127.0.0.1")
