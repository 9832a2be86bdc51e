"""A headless Chromium for tests, driven over its debugging pipe: JSON messages, a zero byte after each."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell", "chrome-headless-shell")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def binary():
    """The Chromium on PATH, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab; `events` is what it has reported since the last `open`."""

    def __init__(self, patience=30.0):
        self.patience, self.count, self.left, self.events = patience, 0, b"", []
        self.folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self.downloads = Path(self.folder.name, "downloads")
        ends = [fd for _ in range(2) for fd in os.pipe()]
        # The browser reads 3 and writes 4: the ends move above both first, so that neither is overwritten.
        above = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in ends]
        for fd in ends:
            os.close(fd)
        asks, self.asks, self.answers, answers = above
        words = [binary(), *FLAGS, f"--user-data-dir={self.folder.name}/profile", "about:blank"]
        silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
        moved = [(os.POSIX_SPAWN_DUP2, asks, 3), (os.POSIX_SPAWN_DUP2, answers, 4)]
        self.pid = os.posix_spawn(words[0], words, os.environ, file_actions=silent + moved, setpgroup=0)
        os.close(asks)
        os.close(answers)
        self.session = None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.asks)
        os.close(self.answers)
        self.folder.cleanup()

    def call(self, method, **params):
        """The result of one command."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.asks, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive(method)
            if answer.get("id") == self.count:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def receive(self, what):
        end = time.monotonic() + self.patience
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self.answers, 1 << 20) if ready else b""
            assert data, f"the browser said nothing more to {what} within {self.patience} s"
            self.left += data
        message, _, self.left = self.left.partition(b"\0")
        return json.loads(message)

    def open(self, url, width=1280, height=900, *, phone=False, dark=False):
        """Load `url` anew at this size."""
        self.size(width, height, phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank' && document.readyState === 'complete'")
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def size(self, width, height, phone=False):
        """Change the size of the view."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )

    def js(self, expression):
        """The value of an expression, awaited where it is a promise."""
        got = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in got, (expression, got["exceptionDetails"])
        return got["result"].get("value")

    def wait(self, expression):
        """Wait until `expression` is true."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            if self.js(f"(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"):
                return
            time.sleep(0.02)
        raise AssertionError(f"not true within {self.patience} s: {expression}")

    def reported(self, method):
        """The parameters of every event of this kind since the last `open`."""
        self.js("0")  # what happened before this has been read once it is answered
        return [e["params"] for e in self.events if e.get("method") == method]

    def saved(self, expression):
        """Name and bytes of the file that the page saves when `expression` is evaluated."""
        known = self.session
        self.session = None
        where = str(self.downloads)
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=where, eventsEnabled=True)
        self.session = known
        shutil.rmtree(self.downloads, ignore_errors=True)
        self.downloads.mkdir()
        self.js(expression)
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            done = [f for f in self.downloads.iterdir() if not f.name.endswith(".crdownload") and f.name[0] != "."]
            if done and any(e["state"] == "completed" for e in self.reported("Browser.downloadProgress")):
                self.events = [e for e in self.events if e.get("method") != "Browser.downloadProgress"]
                return done[0].name, done[0].read_bytes()
            time.sleep(0.02)
        raise AssertionError(f"nothing was saved within {self.patience} s: {expression}")

    def picture(self, full=False):
        """The page as PNG bytes."""
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        return base64.b64decode(got["data"])
