"""Commands that become the command after them, where networks of one's own are made otherwise or not at all."""

from __future__ import annotations

import subprocess
import sys

from flspec.execution import own_network
from flspec.execution.own_network import NETWORK

__all__ = ["NO_NETWORKS", "ORDINARY_USER", "networks_allowed"]

_FORBID = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$0" "$@"'
NO_NETWORKS = ("unshare", "--user", "--map-root-user", "sh", "-c", _FORBID)
ORDINARY_USER = ("unshare", "--user", "--map-user=1234", "--map-group=1234")  # without privileges, whoever tests


def networks_allowed() -> bool:
    """Whether a process may have a network of its own here."""
    if sys.platform != "linux":
        return False
    script = [sys.executable, "-I", "-S", own_network.__file__, "/usr/bin/env"]
    return f"{NETWORK}=own" in subprocess.check_output(script, text=True).splitlines()
