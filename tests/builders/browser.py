"""A headless Chromium for tests of pages: loads a file at a width and a colour scheme, evaluates, takes pictures.

It is spoken to over two pipes (``--remote-debugging-pipe``), in the Chrome DevTools Protocol: JSON, ended by a zero
byte. Nothing but the browser has to be installed.
"""

import json
import os
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from time import monotonic, sleep
from typing import Any

from tests.builders.patience import PATIENCE_S

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """The path of a Chromium; ``RANKSTREAM_TEST_BROWSER`` names another one."""
    named = os.environ.get("RANKSTREAM_TEST_BROWSER")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab of a running browser."""

    def __init__(self, write_to: int, read_from: int) -> None:
        self._write_to, self._read_from, self._buffer, self._number = write_to, read_from, b"", 0
        self.complaints: list[str] = []  # errors of scripts and of the console
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")

    def load(self, path: Path, width: int, scheme: str) -> None:
        """Load a file as a screen of this width shows it to somebody who prefers ``light`` or ``dark``."""
        self.open(path.as_uri(), width, scheme)

    def open(self, address: str, width: int = 1000, scheme: str = "light", motion: str = "no-preference") -> None:
        """Load an address so; ``motion`` may be ``reduce``."""
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self._send("Emulation.setDeviceMetricsOverride", **metrics)
        preferred = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        media = [{"name": name, "value": value} for name, value in preferred.items()]
        self._send("Emulation.setEmulatedMedia", features=media)
        self.complaints.clear()
        self._send("Page.navigate", url=address)
        self.evaluate(
            "new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))"
        )

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self, path: Path) -> Path:
        """Write the whole page as a PNG."""
        size = self._send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self._send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(b64decode(shot["data"]))
        return path

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, by its name and its code of Windows, as "Tab" 9 and "Enter" 13."""
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._send("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
        self._send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def wait_for(self, script: str, within_s: float = PATIENCE_S) -> Any:
        """Return the value of an expression once it is true."""
        until = monotonic() + within_s
        while not (value := self.evaluate(script)):
            assert monotonic() < until, f"{script} was not true within {within_s:g} s; {self.complaints}"
            sleep(0.02)
        return value

    _session = None

    def _send(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write_to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._next_message())
            self._note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")

    def _next_message(self) -> bytes:
        while b"\0" not in self._buffer:
            ready, _, _ = select([self._read_from], [], [], PATIENCE_S)
            assert ready, f"the browser said nothing for {PATIENCE_S:.0f} s"
            part = os.read(self._read_from, 1 << 20)
            assert part, "the browser ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return message


@contextmanager
def browser(command: str) -> Iterator[Page]:
    """Start a browser and end it after the block."""
    to_it, ours = os.pipe()
    theirs, from_it = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
        pipes = f'exec "$0" "$@" 3<&{to_it} 4>&{from_it}'
        words = ["bash", "-c", pipes, command, *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        process = subprocess.Popen(
            words, pass_fds=(to_it, from_it), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_it)
        os.close(from_it)
        try:
            yield Page(ours, theirs)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            os.close(ours)
            os.close(theirs)
