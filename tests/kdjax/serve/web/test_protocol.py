"""Clients that never finish saying what they want."""

import contextlib
import http.client
import time

import pytest

from kdjax.serve.web import protocol

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def client(serving, make_detector, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    with serving(make_detector()) as found:
        yield found


def is_closed(connection):
    connection.settimeout(30)
    return connection.recv(1) == b""


@pytest.mark.parametrize("begun", [b"", b"GET", HEAD])
def test_a_head_that_never_ends_is_not_waited_for(client, begun):
    with client.raw() as connection:
        connection.sendall(begun)
        started = time.monotonic()
        assert is_closed(connection)
        assert time.monotonic() - started > 0.3
    assert client.status("GET", "/") == 200


def test_a_head_that_comes_a_letter_at_a_time_is_not_waited_for(client):
    def drip():
        with client.raw() as connection:
            for _ in range(1000):
                connection.sendall(b"X")
                time.sleep(0.05)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        drip()
    assert client.status("GET", "/") == 200


def test_the_head_of_a_second_request_counts_from_its_first_byte(client):
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.read()
            # longer than a head may take: between requests the connection may rest
            time.sleep(0.7)
        connection.sock.sendall(HEAD)
        assert is_closed(connection.sock)


def test_a_body_has_limits_of_its_own(client):
    with client.raw() as connection:
        connection.sendall(
            b"POST /api/jobs?name=a HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 20\r\n\r\n"
        )
        for _ in range(20):
            connection.sendall(b"x")
            time.sleep(0.05)
        assert b" 202 " in connection.recv(1000)
