"""A real browser for tests of pages: headless Chromium, spoken to through two pipes by its own protocol."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time

import pytest

WAIT = 60.0

NAMES = ("chromium", "chromium-browser", "google-chrome")

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe"),
)


class Browser:
    """A tab, and what it said and asked for.

    Attributes:
      errors: of its console, and of scripts.
      requests: addresses that were asked for.
    """

    def __init__(self, folder):
        program = next(filter(None, map(shutil.which, NAMES)))
        read, self._to = os.pipe()
        self._from, write = os.pipe()
        # the browser reads from its third and writes to its fourth file
        words = ['exec "$0" "$@" 3<&"$IN" 4>&"$OUT"', program, *FLAGS, f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", *words],
            pass_fds=(read, write),
            env={**os.environ, "IN": str(read), "OUT": str(write), "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._numbers, self._held, self._session = itertools.count(1), b"", None
        self.errors, self.requests = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Returns what a command of the protocol gives."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (found := self._next()).get("id") != number:
            self._note(found)
        if "error" in found:
            raise AssertionError(f"{method}: {found['error']}")
        return found["result"]

    def _next(self):
        end = time.monotonic() + WAIT
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._from, 1 << 20) if ready else b""
            if not more:
                raise AssertionError("the browser has gone, or says nothing")
            self._held += more
        message, _, self._held = self._held.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        method, told = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(told["exceptionDetails"]["text"])
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.errors.append(str(told["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])

    def open(self, address, width=1200, height=900):
        """Opens a page at a size, and waits until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script):
        """Returns what a script comes to."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script):
        """Waits until a script comes to something true."""
        end = time.monotonic() + WAIT
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)

    def give(self, selector, *paths):
        """Chooses files in a field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=list(map(str, paths)), nodeId=node)

    def press(self, key):
        """Presses and releases a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self):
        """Returns the page as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self):
        """Ends the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)


@pytest.fixture
def browser(tmp_path):
    """A tab of a browser; the test is skipped where there is none, unless KDJAX_BROWSER asks for one."""
    if not any(map(shutil.which, NAMES)):
        if os.environ.get("KDJAX_BROWSER"):
            pytest.fail("no Chromium on PATH, and KDJAX_BROWSER asks for one")
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on PATH")
    opened = Browser(tmp_path / "browser")
    yield opened
    opened.close()
