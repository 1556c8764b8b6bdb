"""`kdjax serve`."""

import argparse
import contextlib
import ipaddress
import socket
import sys

from kdjax import configs, termination
from kdjax.checks import UserError
from kdjax.serve.detector import Detector
from kdjax.serve.options import Options, check
from kdjax.serve.web import limits as allowed
from kdjax.serve.web.limits import Limits

NEEDED = "kdjax serve needs FastAPI and uvicorn: pip install 'kdjax[serve]'"


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    try:
        import uvicorn

        from kdjax.serve.web.app import make_app
        from kdjax.serve.web.guard import HERE
        from kdjax.serve.web.protocol import Impatient
    except ModuleNotFoundError as error:
        raise UserError(f"{NEEDED} ({error.name} is missing)") from error
    limits = allowed.check(Limits(**{name: getattr(options, name) for name in allowed.CHOICES}))
    how = check(
        Options(
            threshold=options.threshold,
            detector=options.detector,
            landmarks=options.landmarks,
            any_quality=options.any_quality,
        )
    )
    detector = Detector.load(options.run, extensions=configs.program(options.program))
    hosts = (*HERE, *_named(options.host), *options.allow)
    app = make_app(detector, options.run, options=how, limits=limits, hosts=hosts)
    with _bound(options.host, options.port) as opened:
        address = _address(*opened.getsockname()[:2])
        print(f"{options.run} judges at {address}; Ctrl-C ends it", flush=True)
        if not _is_here(options.host):
            print(
                f"note: whoever reaches this machine may use it, by the names {', '.join(hosts)}; there is no password",
                file=sys.stderr,
            )
        config = uvicorn.Config(
            app,
            http=Impatient,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=limits.connections,
            timeout_keep_alive=5,
            h11_max_incomplete_event_size=1 << 14,
            timeout_graceful_shutdown=5,
        )
        # the usual way to end it
        with contextlib.suppress(KeyboardInterrupt), termination.left_to_others():
            uvicorn.Server(config).run(sockets=[opened])


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UserError(f"--port={port} must be from 0 (any) to 65535")
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
        # from now on nobody who read the address is turned away
        opened.listen(2048)
    except socket.gaierror as error:
        raise UserError(f"--host={host}: {error.strerror}") from error
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port}: {error.strerror}; name another --port"
        ) from error
    return opened


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _named(host: str) -> list[str]:
    """Returns the names that an address to listen at can be asked by; one that stands for all has none."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return []
    return [f"[{host}]" if ":" in host else host]


def _is_here(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
