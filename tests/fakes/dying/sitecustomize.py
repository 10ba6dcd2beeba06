"""On PYTHONPATH, has a worker process die at its n-th file operation, as the environment says; see `tests.crashes`."""

import os
import sys

if "flspec.execution.worker" in sys.orig_argv and (point := os.environ.get("FLSPEC_TEST_DIES_AT")):
    from tests.crashes import arm

    arm(int(point))
