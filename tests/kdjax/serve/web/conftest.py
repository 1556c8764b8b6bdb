"""A server in a thread, and who asks it."""

import contextlib
import http.client
import json
import socket
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from kdjax.serve.web.limits import Limits

WAIT = 60.0


class Client:
    """Asks a server."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request(
                method, path, body, {k.replace("_", "-"): v for k, v in headers.items()}
            )
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def status(self, method, path, body=None, **headers):
        return self.ask(method, path, body, **headers)[0].status

    def told(self, method, path, body=None, **headers):
        return json.loads(self.ask(method, path, body, **headers)[1])

    def send(self, content, name="clip.mp4", **words):
        words = "".join(f"&{key}={value}" for key, value in words.items())
        return self.told(
            "POST", f"/api/jobs?name={quote(name)}{words}", content, Content_Type="video/mp4"
        )

    def result(self, job):
        end = time.monotonic() + WAIT
        while (found := self.told("GET", f"/api/jobs/{job['id']}"))["state"] in (
            "waiting",
            "working",
        ):
            assert time.monotonic() < end
            time.sleep(0.02)
        return found

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)


@contextlib.contextmanager
def start(detector, source=Path("run"), options=None, **limits):
    uvicorn = pytest.importorskip("uvicorn")
    from kdjax.serve.web.app import make_app
    from kdjax.serve.web.protocol import Impatient

    app = make_app(detector, source, options=options, limits=Limits()._replace(**limits))
    config = uvicorn.Config(app, http=Impatient, log_level="critical", timeout_graceful_shutdown=2)
    server, place = uvicorn.Server(config), socket.socket()
    place.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        end = time.monotonic() + WAIT
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        yield Client(place.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(WAIT)


@pytest.fixture(scope="session")
def serving():
    """A function that has a detector served while a block runs, with limits."""
    return start
