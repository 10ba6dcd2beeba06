"""Chromium without a window, driven through a pipe by its DevTools protocol: one start for any number of pages.

The protocol: https://chromedevtools.github.io/devtools-protocol/. Messages are JSON, each with a zero byte behind it,
on the file descriptors 3 (in) and 4 (out) of a browser that was started with --remote-debugging-pipe.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Browser", "browser", "chromium"]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def chromium() -> str | None:
    """Where Chromium is, as Debian and others name it."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One tab."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = os.fdopen(read, "rb", buffering=0), os.fdopen(write, "wb", buffering=0)
        self._number, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []  # since the last page was opened
        target = self.ask("Target.createTarget", url="about:blank", session=False)["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True, session=False)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, *, session: bool = True, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; what else the browser says meanwhile is among the events."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return dict(answer["result"])

    def open(self, page: Path, width: int = 1280, scheme: str = "light") -> None:
        """Open a file at a width, in a colour scheme, and wait until it is there."""
        self.events.clear()
        size: dict[str, Any] = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask(
            "Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self.ask("Page.navigate", url=page.absolute().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def screenshot(self, height: int | None = None) -> bytes:
        """The page as a PNG, or its first so many pixels."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"])

    def print_at(self, width: int) -> None:
        """Lay the open page out as it is printed on a sheet that has so many pixels across."""
        size: dict[str, Any] = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setEmulatedMedia", media="print")

    def pdf(self) -> bytes:
        """The page as printed on A4."""
        options: dict[str, Any] = {
            "paperWidth": 8.27,
            "paperHeight": 11.69,
            "preferCSSPageSize": False,
            "printBackground": True,
        }
        return base64.b64decode(self.ask("Page.printToPDF", **options)["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            content = self._read.read(2**16)
            assert content, "the browser has ended"
            self._rest += content
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def browser(program: str, home: Path) -> Iterator[Browser]:
    """Start Chromium with its profile in `home`, and end it."""
    to_read, from_us = os.pipe()
    from_it, to_write = os.pipe()

    def give_descriptors() -> None:
        read, write = os.dup(to_read), os.dup(to_write)
        os.dup2(read, 3)
        os.dup2(write, 4)

    process = subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={home}"],
        preexec_fn=give_descriptors,  # noqa: PLW1509  # nothing else runs in this process meanwhile
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Browser(from_it, from_us)
    finally:
        process.terminate()
        process.wait(timeout=20)
