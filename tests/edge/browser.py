"""A real browser for tests: Chromium by way of its driver's own protocol (W3C WebDriver), no package needed."""

import base64
import contextlib
import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]


class Browser:
    """One window."""

    def __init__(self, port: int, arguments: list[str]) -> None:
        self._port = port
        options = {"args": [*ARGUMENTS, *arguments], "binary": shutil.which("chromium")}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = "/session"
        answer = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        connection.request(method, f"{self._session}{path}", None if body is None else json.dumps(body))
        answer = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(answer["message"])
        return answer

    def open(self, address: str) -> None:
        """Go to a page and wait until it has loaded."""
        self._ask("POST", "/url", {"url": address})

    def run(self, script: str) -> Any:
        """Run a function's body in the page; one that returns a promise is waited for."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str) -> Any:
        """Wait in the page until an expression is true there, and return it; the driver's own limit is 30 s."""
        script = f"return new Promise(done => {{ (function look() {{ const found = {condition}; "
        return self.run(f"{script} if (found) done(found); else setTimeout(look, 50); }})(); }});")

    def size(self, width: int, height: int, *, scale: float = 1.0, mobile: bool = False) -> None:
        """Be a screen of another size."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile},
        )

    def devtools(self, command: str, values: dict[str, Any]) -> Any:
        """Say something in the DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": values})

    def screenshot(self, file: Path) -> None:
        """Write what is seen as PNG."""
        file.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def complaints(self) -> list[str]:
        """Return what the browser has written to its console since it was last asked."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def close(self) -> None:
        """End it."""
        self._ask("DELETE", "")


@contextlib.contextmanager
def browser(*arguments: str) -> Iterator[Browser]:
    """Start a browser and end it."""
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        try:
            assert driver.stdout is not None
            said = ""
            while "started successfully on port" not in said:
                said = driver.stdout.readline()
                assert said, "chromedriver ended"
            found = re.search(r"port (\d+)", said)
            assert found is not None
            window = Browser(int(found[1]), list(arguments))
            yield window
            window.close()
        finally:
            driver.terminate()
