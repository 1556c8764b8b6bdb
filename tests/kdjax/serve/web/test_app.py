"""The server by its own socket: what it answers, what it refuses, and that it answers afterwards."""

import contextlib
import tempfile
import threading
import time

import pytest

from kdjax.serve.options import Options

pytest.importorskip("uvicorn")

WAIT = 60.0


@pytest.fixture
def serve(serving, make_detector, tmp_path, monkeypatch):
    """A function that starts a server with limits; it ends, and has left no file, with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with contextlib.ExitStack() as stack:

        def start(scorer=None, **limits):
            detector = make_detector(**({"scorer": scorer} if scorer else {}))
            return stack.enter_context(serving(detector, **limits))

        yield start
    assert not list(tmp_path.glob("kdjax-serve-*"))


@pytest.fixture(scope="module")
def client(serving, make_detector):
    """A server for tests that only ask."""
    with serving(make_detector(), megabytes=100) as opened:
        yield opened


def until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def clip(heads, write_clip, tmp_path_factory):
    """The bytes of a video of a head."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", heads(0)).read_bytes()


def files(folder):
    return [path for each in folder.glob("kdjax-serve-*") for path in each.iterdir()]


def test_a_file_is_judged_as_by_predict(serve, clip, make_detector, tmp_path):
    client = serve()
    found = client.result(client.send(clip, "<b>\n.mp4"))
    (tmp_path / "clip.mp4").write_bytes(clip)
    (want,) = make_detector().predict(tmp_path / "clip.mp4")
    first, *faces = found["result"]
    assert (found["state"], found["name"], first["input"]) == ("done", "<b>\\n.mp4", "<b>\\n.mp4")
    assert (first["verdict"], first["score"]) == (want.verdict, pytest.approx(want.score, abs=1e-6))
    assert len(faces) == len(want.faces)
    answer, page = client.ask("GET", f"/api/jobs/{found['id']}/page")
    assert b"&lt;b&gt;" in page
    assert b"<b>" not in page
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert not files(tmp_path)
    assert client.status("DELETE", f"/api/jobs/{found['id']}") == 204
    assert client.status("GET", f"/api/jobs/{found['id']}") == 404


def test_a_bad_file_has_a_result_that_says_so(client):
    found = client.result(client.send(b"no video"))
    assert found["state"] == "done"
    assert (found["result"][0]["verdict"], found["result"][0]["why"]) == (
        "cannot say",
        "unreadable",
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost"}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 202),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": ""}, 415),
        ({"Content_Length": "200000000"}, 413),
    ],
)
def test_who_may_send_what(client, headers, status):
    assert (
        client.status("POST", "/api/jobs", b"x", **{"Content_Type": "video/mp4", **headers})
        == status
    )


def test_its_own_page_may(client):
    origin = f"http://127.0.0.1:{client.port}"
    assert client.status("POST", "/api/jobs", b"x", Content_Type="image/png", Origin=origin) == 202


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/files/app.js", 200),
        ("GET", "/files/../app.py", 404),
        ("GET", "/files/%2e%2e%2fapp.py", 404),
        ("GET", "/files/index.html", 404),
        ("GET", "/api/jobs/../../etc/passwd", 404),
        ("GET", "/api/jobs/nothing/page", 404),
        ("PUT", "/api/jobs", 405),
        ("DELETE", "/api/jobs/nothing", 404),
        ("POST", "/api/jobs?any_quality=perhaps", 422),
    ],
)
def test_addresses(client, method, path, status):
    answer, body = client.ask(method, path, Content_Type="video/mp4")
    assert answer.status == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "http" not in answer.headers["Content-Security-Policy"]
    if answer.status == 200:
        # nothing is asked of anybody else
        assert b"//cdn" not in body
        assert b'src="http' not in body


def test_a_file_that_grows_too_large_on_its_way_is_refused(serve, tmp_path):
    client = serve(megabytes=1)
    with client.raw() as connection:
        connection.sendall(
            b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(17):
            connection.sendall(piece)
        assert b" 413 " in connection.recv(1000)
    until(lambda: not files(tmp_path))
    assert client.status("GET", "/") == 200


def test_a_file_that_stands_still_is_refused(serve, tmp_path):
    client = serve(pause_seconds=0.2)
    with client.raw() as connection:
        connection.sendall(
            b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
            b"Content-Length: 100\r\n\r\nhalf"
        )
        assert b" 408 " in connection.recv(1000)
    until(lambda: not files(tmp_path))


def test_half_a_file_is_deleted_and_its_place_comes_back(serve, tmp_path):
    client = serve(waiting=1)
    for _ in range(5):
        with client.raw() as connection:
            connection.sendall(
                b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
                b"Content-Length: 100\r\n\r\nhalf"
            )
            until(lambda: files(tmp_path))
        until(lambda: not files(tmp_path))
    until(lambda: client.status("POST", "/api/jobs", b"x", Content_Type="video/mp4") == 202)


def test_an_empty_file_is_refused(client):
    assert client.status("POST", "/api/jobs", b"", Content_Type="video/mp4") == 400


@pytest.mark.slow
def test_more_than_may_wait_are_told_when_to_come_again(serve, clip, make_detector):
    go = threading.Event()
    plain = make_detector()._scorer

    def slow(images):
        go.wait(WAIT)
        return plain(images)

    client = serve(scorer=slow, waiting=2)
    sent = [client.send(clip) for _ in range(2)]
    answer, _ = client.ask("POST", "/api/jobs", clip, Content_Type="video/mp4")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    go.set()
    assert [client.result(job)["state"] for job in sent] == ["done", "done"]
    until(lambda: "id" in client.send(clip))


@pytest.mark.slow
def test_one_that_is_dropped_while_it_is_worked_on_is_stopped(serve, clip, tmp_path):
    client = serve()
    job = client.send(clip)
    assert client.status("DELETE", f"/api/jobs/{job['id']}") == 204
    until(lambda: not files(tmp_path))
    assert client.result(client.send(clip))["state"] == "done"


@pytest.mark.slow
def test_a_detector_that_fails_is_told_and_the_next_is_judged(serve, clip):
    calls = []

    def scorer(images):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return images.reshape(len(images), -1).mean(axis=1)

    client = serve(scorer=scorer)
    found = client.result(client.send(clip))
    assert (found["state"], found["problem"]) == ("failed", "RuntimeError: out of memory")
    assert client.result(client.send(clip))["state"] == "done"


def test_what_it_is_asked_for_is_described(client):
    told = client.told("GET", "/openapi.json")["paths"]
    assert {*told} == {
        "/api/detector",
        "/api/jobs",
        "/api/jobs/{job_id}",
        "/api/jobs/{job_id}/page",
    }
    assert {"400", "403", "408", "413", "415", "503"} <= {*told["/api/jobs"]["post"]["responses"]}
    assert b"POST /api/jobs" in client.ask("GET", "/docs")[1]
    assert client.told("GET", "/api/detector")["limits"]["megabytes"] == 100


def test_no_page_has_a_browser_ask_for_an_icon(client, clip):
    job = client.result(client.send(clip))
    for address in ("/", "/docs", f"/api/jobs/{job['id']}/page"):
        assert b'<link rel="icon" href="data:,">' in client.ask("GET", address)[1], address


def test_options_of_the_sender_count(client, clip):
    strict = client.result(client.send(clip))["result"][0]
    free = client.result(client.send(clip, any_quality="true"))["result"][0]
    assert strict["score"] == free["score"]
    assert client.result(client.send(clip, cropped="true"))["result"][0]["faces"] >= 1


def test_no_path_of_this_machine_is_told(serving, make_detector, clip, tmp_path):
    place = tmp_path / "secret" / "run"
    with serving(make_detector(), place) as client:
        told = client.ask("GET", "/api/detector")[1]
        job = client.result(client.send(clip))
        told += client.ask("GET", f"/api/jobs/{job['id']}")[1]
        told += client.ask("GET", f"/api/jobs/{job['id']}/page")[1]
    assert b"secret" not in told
    assert b"run" in told


def test_what_is_chosen_for_all_is_told(serving, make_detector):
    with serving(make_detector(), options=Options(any_quality=True)) as client:
        assert client.told("GET", "/api/detector")["choices"] == {
            "any_quality": True,
            "cropped": False,
        }
