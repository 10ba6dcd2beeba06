"""The pins of a backend's environment: the version of each package, and the hashes of its files."""

from __future__ import annotations

import re

from flspec.errors import InputError
from flspec.execution.sources import package_folder
from flspec.protocol.requirements import Environment

__all__ = ["read_pins", "why_refused"]

_PIN = re.compile(r"[A-Za-z0-9._-]+==\S+( --hash=sha256:[0-9a-f]{64})+")
_MISMATCH = re.compile(r"DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.*\n\s*(?:unknown package|(\S+))")


def read_pins(environment: Environment) -> list[str]:
    """Read the complete list of packages from the backend's package, each `name==version --hash=sha256:… …`.

    Raises InputError if the list is missing, or if a file of any content could be installed for one of them.
    """
    file = package_folder(environment.package) / "requirements.txt"
    if not file.is_file():
        raise InputError(f"the pins of {environment.name} are missing in {file.parent}; install flspec again")
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    pins = [" ".join(line.partition("#")[0].split()) for line in text.splitlines()]
    for pin in filter(None, pins):
        if not _PIN.fullmatch(pin):
            raise InputError(
                f"{file}: {pin.partition(' ')[0]} is not pinned as name==version --hash=sha256:…; "
                "write the file with 'uv pip compile --generate-hashes'"
            )
    return list(filter(None, pins))


def why_refused(output: str) -> str | None:
    """Return in one sentence which package pip refused for its hash, by its output; None if it refused none."""
    if not (found := _MISMATCH.search(output)):
        return None
    return (
        f"what the package index gave as {found[1] or 'one of the packages'} is not the file that is pinned (its "
        "SHA-256 differs), so nothing was installed; try again, then another network or index"
    )
