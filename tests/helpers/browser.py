"""A real browser, driven by Chromium's own protocol: what a page shows once its scripts have run."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

INSTALLED = shutil.which("chromium") is not None
_PATIENCE = 120.0  # seconds


class Browser:
    """A page of a browser."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket, self._sent = socket, 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while (told := json.loads(self._socket.recv())).get("id") != self._sent:
            pass
        return dict(told["result"])

    def value(self, expression: str) -> Any:
        """Of an expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, address: str, until: str) -> str:
        """Open an address, wait until an expression holds there, and give the page's text."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.wait(until)
        return str(self.value("document.body.innerText"))

    def wait(self, until: str) -> None:
        """Wait until an expression holds."""
        deadline = time.monotonic() + _PATIENCE
        while not self.value(f"Boolean({until})"):
            assert time.monotonic() < deadline, f"{until}\n{self.value('document.body.innerText')}"
            time.sleep(0.2)

    def picture(self, file: Path) -> None:
        """Write what is seen as a PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextlib.contextmanager
def browser(folder: Path, width: int = 1400, height: int = 900) -> Iterator[Browser]:
    """A browser with an empty profile in `folder`, of a window of so many pixels."""
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-background-networking", "--remote-allow-origins=*", "--remote-debugging-port=0",
        f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        port, deadline = folder / "DevToolsActivePort", time.monotonic() + _PATIENCE
        while not port.exists() or not port.read_text().strip():
            assert process.poll() is None, "the browser ended"
            assert time.monotonic() < deadline, "the browser does not start"
            time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json", timeout=_PATIENCE) as pages:
            [page] = [one for one in json.load(pages) if one["type"] == "page"]
        socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=_PATIENCE)
        try:
            yield Browser(socket)
        finally:
            socket.close()
    finally:
        process.terminate()
        process.wait(30)
