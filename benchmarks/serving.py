"""Many clients at once at `kdjax serve`, well-behaved and not: nothing may be lost, memory stay flat, all be deleted.

python benchmarks/serving.py RUN [--clients=50] [--requests=2000]

Clients send faces and short clips, ask for their jobs until they are done, and among that send what is too large, too
slow, half, of the wrong type, from another host or origin, and no picture at all. Where the server is full they come
again when it says. Only this machine is asked.
"""

import argparse
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from harness import RESULTS, Budget, Memory, Results, Rows, quarter, run_rows, significant

FAULTS = {
    "another host": (403, {"Host": "evil.example"}),
    "another origin": (403, {"Origin": "http://evil.example"}),
    "wrong type": (415, {"Content-Type": "text/plain"}),
    "too large": (413, {"Content-Length": str(10**12)}),
    "empty": (400, {}),
}
"""What is refused at once: status, headers."""

SHARES = {"picture": 0.3, "clip": 0.03, "noise": 0.07, "half": 0.1, "slow": 0.02}
"""Of the requests; the rest are faults and questions."""

PATIENCE = 900.0


class Told(NamedTuple):
    """What a client counted: answers by kind and status, seconds of each, and what was lost."""

    statuses: Counter[str]
    seconds: list[float]
    lost: list[str]


def main() -> int:
    """Runs the test; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a run, or of an export")
    parser.add_argument("--clients", type=int, default=50, help="at once (default 50)")
    parser.add_argument("--requests", type=int, default=2000, help="in all (default 2000)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    arguments = parser.parse_args()
    results = Results(arguments.output / "cpu-serving.json", "serving")
    name = f"{arguments.clients} clients, {arguments.requests} requests"
    rows: Rows = {name: partial(measure, arguments)}
    run_rows(rows, results, Budget(3600))
    return bool(results.failures())


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns what came of one server and all its clients."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"picture": picture(), "clip": clip(Path(folder)), "noise": os.urandom(50_000)}
        words = [f"--run={arguments.run}", "--port=0", "--megabytes=50", "--any_quality"]
        server = subprocess.Popen(
            [sys.executable, "-m", "kdjax", "serve", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        )
        try:
            assert server.stdout is not None
            port = int(re.findall(r":(\d+);", server.stdout.readline())[0])
            # the first of a kind compiles
            for kind in ("picture", "clip"):
                ask_until_done(port, files[kind])
            memory = Memory(server.pid)
            begun = time.monotonic()
            share = -(-arguments.requests // arguments.clients)
            with ThreadPoolExecutor(arguments.clients) as pool:
                told = list(
                    pool.map(
                        lambda seed: client(port, files, share, seed), range(arguments.clients)
                    )
                )
            seconds = time.monotonic() - begun
            after = ask_until_done(port, files["picture"])
            left = [path for each in Path(folder).glob("kdjax-serve-*") for path in each.iterdir()]
            megabytes = memory.close()
        finally:
            server.terminate()
            server.wait(30)
        gone = not list(Path(folder).glob("kdjax-serve-*"))
    statuses = sum((each.statuses for each in told), Counter[str]())
    lost = [line for each in told for line in each.lost]
    waits = sorted(second for each in told for second in each.seconds)
    return {
        "requests": sum(statuses.values()),
        "seconds": significant(seconds),
        "answers": dict(sorted(statuses.items())),
        "lost": lost[:20],
        "answer_seconds": {
            "median": significant(float(np.median(waits))),
            "95 %": significant(float(np.quantile(waits, 0.95))),
            "most": significant(waits[-1]),
        },
        "megabytes": {
            "first quarter": max(quarter(megabytes)),
            "last quarter": max(quarter(megabytes[::-1])),
        },
        "files_left": len(left),
        "folder_gone": gone,
        "passed": not lost and not left and gone and after["state"] == "done",
    }


def client(port: int, files: dict[str, bytes], count: int, seed: int) -> Told:
    """Asks so many times, and then until all its jobs are done."""
    rng, told, jobs = random.Random(seed), Told(Counter(), [], []), list[str]()
    kinds = [*SHARES, "fault"]
    weights = [*SHARES.values(), 1 - sum(SHARES.values())]
    for _ in range(count):
        kind = rng.choices(kinds, weights)[0]
        begun = time.monotonic()
        try:
            if kind in files:
                status, body = send(port, files[kind], told)
                if status == 202:
                    jobs.append(json.loads(body)["id"])
            elif kind in ("half", "slow"):
                status = broken(port, rng, wait=kind == "slow")
            else:
                status, kind = fault(port, rng, jobs)
        except OSError as error:
            told.lost.append(f"{kind}: {error!r}")
            continue
        told.statuses[f"{kind}: {status}"] += 1
        told.seconds.append(time.monotonic() - begun)
    for job in jobs:
        state = wait(port, job)
        if state["state"] != "done":
            told.lost.append(f"{state['state']}: {state['problem']}")
    return told


def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes, str]:
    """Returns status, body and the seconds to come again after."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": "image/jpeg", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers.get("Retry-After", "")
    finally:
        connection.close()


def send(port: int, content: bytes, told: Told) -> tuple[int, bytes]:
    """Sends a file, again where the server is full."""
    while True:
        status, body, again = ask(port, "POST", "/api/jobs?name=file", content)
        if status != 503:
            return status, body
        told.statuses["full: 503"] += 1
        time.sleep(float(again or 1))


def broken(port: int, rng: random.Random, *, wait: bool) -> int:
    """Sends half a file and goes, or stays and says nothing more; returns the status, 0 where nobody waits for it."""
    head = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\nContent-Length: 100000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(head + os.urandom(rng.randrange(1, 50_000)))
        if not wait:
            return 0
        found = connection.recv(100)
        return int(found.split()[1]) if found else 0


def fault(port: int, rng: random.Random, jobs: list[str]) -> tuple[int, str]:
    """Does what is refused, or asks for a job or a page; returns status and kind, which says what was wanted."""
    kind = rng.choice([*FAULTS, "page", "nothing", "job"])
    if kind in FAULTS:
        wanted, headers = FAULTS[kind]
        body = b"" if kind == "empty" else b"x"
        status, _, _ = ask(port, "POST", "/api/jobs", body, headers)
        # nothing is too bad to be told that there is no room
        if status not in (wanted, 503):
            raise OSError(f"{kind}: {status}, not {wanted}")
        return status, kind
    path = {"page": "/", "nothing": "/api/jobs/../../etc/passwd"}.get(
        kind, f"/api/jobs/{jobs[-1]}" if jobs else "/docs"
    )
    status, _, _ = ask(port, "GET", path)
    return status, kind


def wait(port: int, job: str) -> dict[str, Any]:
    """Returns a job when it is done."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        status, body, _ = ask(port, "GET", f"/api/jobs/{job}")
        if status == 404:
            # one that is long done is forgotten for the newer ones
            return {"state": "done", "problem": ""}
        found: dict[str, Any] = json.loads(body)
        if found["state"] not in ("waiting", "working"):
            return found
        time.sleep(0.5)
    return {"state": "late", "problem": f"not done after {PATIENCE:g} s"}


def ask_until_done(port: int, content: bytes) -> dict[str, Any]:
    """Sends a file and returns its job when that is done."""
    _, body = send(port, content, Told(Counter(), [], []))
    return wait(port, json.loads(body)["id"])


def picture() -> bytes:
    """Returns a rendered head as JPEG."""
    return cv2.imencode(".jpg", heads(1)[0][..., ::-1])[1].tobytes()


def clip(folder: Path) -> bytes:
    """Returns a second of a rendered head as H.264."""
    import av

    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "30"})
        frames = heads(25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def heads(length: int) -> np.ndarray:
    """Returns frames of a talking head, uint8 `[length, 128, 128, 3]`."""
    from kdjax.data_pipeline.builders.synthfaces.performance import Performance

    frames = Performance(7, 0, 0, length=length, size=96).frames
    return np.pad(frames, ((0, 0), (16, 16), (16, 16), (0, 0)), "reflect")


if __name__ == "__main__":
    sys.exit(main())
