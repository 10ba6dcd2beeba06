"""A folder as an RO-Crate (https://w3id.org/ro/crate/1.1) of the profile Process Run Crate 0.5.

Each run is a CreateAction: the spec and the plan are its objects, flspec with the version that ran is its instrument,
and the results are its result (https://w3id.org/ro/wfrun/process/0.5). It is not a Workflow Run Crate, since a spec is
no workflow of steps. Each file has its SHA-256 and size; `sha256sum -c manifest-sha256.txt` checks them without flspec.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flspec.bundles.contents import MOST_BYTES, BundledRun, Contents
from flspec.core.reading import open_regular
from flspec.errors import InputError, printable, shorten
from flspec.runs.result import Result

__all__ = ["MANIFEST", "Maker", "check_library", "describe"]

MANIFEST = "manifest-sha256.txt"
_VERSION, _PROFILE = "1.1", "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}  # what the profile's own context has
_STATUS = {"completed": "CompletedActionStatus", "failed": "FailedActionStatus", "interrupted": "FailedActionStatus"}
_FORMATS = {
    ".html": "text/html",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".npz": "application/zip",
}
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,99}")
_ADDRESS = re.compile(r"https?://[^\s<>\"]{1,500}")
_AUTHOR = re.compile(r"(?P<name>[^<>]+?)\s*(?:<(?:https://orcid\.org/)?(?P<orcid>\d{4}-\d{4}-\d{4}-\d{3}[\dX])>)?")


@dataclass(frozen=True)
class Maker:
    """Who answers for a bundle, and on what terms."""

    licence: str | None  # an address
    authors: tuple[tuple[str, str | None], ...]  # names, and their ORCIDs

    @classmethod
    def of(cls, licence: str | None, authors: Sequence[str]) -> Maker:
        """Read what was given; raises InputError."""
        return cls(None if licence is None else _licence(licence), tuple(map(_author, authors)))


def check_library() -> None:
    """Raise InputError unless `rocrate` is installed."""
    try:
        import rocrate  # noqa: F401
    except ImportError:
        raise InputError("bundle: needs rocrate; install it with: pip install 'flspec[bundle]'") from None


def describe(contents: Contents, maker: Maker, folder: Path) -> None:
    """Write `ro-crate-metadata.json` and the manifest into a folder that has the contents."""
    from rocrate.model import ContextEntity
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version=_VERSION)
    crate.metadata.extra_terms.update(_TERMS)
    crate.name = f"Federated learning: {contents.title}"
    crate.description = " ".join([contents.methods, *contents.remarks])
    profile = {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    crate.root_dataset["conformsTo"] = crate.add(ContextEntity(crate, _PROFILE, properties=profile))
    _sign(crate, maker)
    for path, digest in _digests(folder):
        properties = {"sha256": digest, "contentSize": str((folder / path).stat().st_size), "name": path}
        if encoding := _FORMATS.get(Path(path).suffix):
            properties["encodingFormat"] = encoding
        crate.add_file(folder / path, path, properties=properties)
    for number, run in enumerate(contents.runs, 1):
        crate.root_dataset.append_to("mentions", _action(crate, number, run))
    crate.write(folder)


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each file's path and SHA-256, and at last those of the manifest, which is made of the others."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        with open_regular(path, MOST_BYTES) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {name}\n")
        yield name, digest
    content = "".join(lines).encode()
    (folder / MANIFEST).write_bytes(content)
    yield MANIFEST, hashlib.sha256(content).hexdigest()


def _action(crate: Any, number: int, run: BundledRun) -> Any:
    """Return one run as an action."""
    result = run.result
    properties: dict[str, Any] = {
        "@type": "CreateAction",
        "name": f"Run {run.name} of plan {result.plan_digest} on {printable(result.backend.name)}",
        **_times(result),
        "actionStatus": {"@id": f"http://schema.org/{_STATUS[result.status]}"},
    }
    if result.error:
        properties["error"] = shorten(printable(result.error), 600)
    entities = [[crate.dereference(path) for path in paths] for paths in (run.inputs, run.outputs)]
    return crate.add_action(_application(crate, run), f"#run-{number}", *entities, properties=properties)


def _times(result: Result) -> dict[str, str]:
    """Return when a run began and ended; nothing if what is recorded is no time."""
    try:
        start = datetime.fromisoformat(result.started)
        end = start + timedelta(seconds=result.seconds.total)
    except (ValueError, OverflowError):
        return {}
    return {"startTime": start.isoformat(), "endTime": end.isoformat()}


def _application(crate: Any, run: BundledRun) -> Any:
    """Return flspec as it carried out a run, one for each combination of versions."""
    from rocrate.model import SoftwareApplication

    result = run.result
    versions = result.software.versions if result.software else result.environment | result.backend.versions
    known = sorted(f"{name} {version}" for name, version in versions.items())
    digest = hashlib.sha256("\n".join([result.backend.name, *known]).encode()).hexdigest()[:12]
    if (there := crate.dereference(f"#flspec-{digest}")) is not None:
        return there
    properties = {
        "name": f"flspec, backend {printable(result.backend.name)}",
        "softwareVersion": printable(str(versions.get("flspec", result.environment.get("flspec", "unknown")))),
        "softwareRequirements": [printable(one) for one in known],
    }
    return crate.add(SoftwareApplication(crate, f"#flspec-{digest}", properties=properties))


def _sign(crate: Any, maker: Maker) -> None:
    """Name the licence and the authors."""
    from rocrate.model import ContextEntity, Person

    if maker.licence:
        properties = {"@type": "CreativeWork", "name": maker.licence.removeprefix("https://spdx.org/licenses/")}
        crate.license = crate.add(ContextEntity(crate, maker.licence, properties=properties))
    for number, (name, orcid) in enumerate(maker.authors, 1):
        identifier = f"https://orcid.org/{orcid}" if orcid else f"#author-{number}"
        crate.root_dataset.append_to("author", crate.add(Person(crate, identifier, properties={"name": name})))


def _licence(text: str) -> str:
    if _ADDRESS.fullmatch(text):
        return text
    if _SPDX.fullmatch(text):
        return f"https://spdx.org/licenses/{text}"
    raise InputError(
        f"--license: {shorten(text)!r} is neither an SPDX identifier nor an address; give one such as CC-BY-4.0"
    )


def _author(text: str) -> tuple[str, str | None]:
    found = _AUTHOR.fullmatch(printable(text).strip())
    if not found or not found["name"].strip():
        raise InputError(
            f"--author: {shorten(text)!r} is no name, with or without an ORCID; give one such as "
            "'Ada Lovelace <0000-0002-1825-0097>'"
        )
    return found["name"].strip(), found["orcid"]
