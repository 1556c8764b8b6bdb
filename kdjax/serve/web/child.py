"""The process that decodes: it may read, and write to its pipe, and has so much memory and time and no more.

`python -m kdjax.serve.web.child`: the first line of standard input tells the detector and the limits, each line after
it a file to look at; what is seen goes to standard output (`wire`).
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

from kdjax.serve.cutting import Cutter, make_cutter
from kdjax.serve.inputs import Input
from kdjax.serve.looking import Ended, look
from kdjax.serve.options import Options
from kdjax.serve.spec import Spec
from kdjax.serve.web import wire

FILES = 64
"""That it may have open at a time."""


def limit(memory_megabytes: int, seconds: int) -> None:
    """Takes from this process what it does not need: memory, time, writing, many open files, a dump."""
    for what, most in (
        (resource.RLIMIT_AS, memory_megabytes * 1_000_000),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def main() -> None:
    """Looks at files until there are no more to look at."""
    # a Ctrl-C in the terminal is for the server
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = json.loads(sys.stdin.buffer.readline())
    # what a library prints is no message
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    spec = Spec.from_json(given["spec"])
    cutters: dict[Options, Cutter] = {}
    limit(given["memory_megabytes"], given["seconds"])
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        options = Options(**asked["options"])
        cutter = cutters.get(options)
        if cutter is None:
            cutter = cutters[options] = make_cutter(spec, options)
        try:
            for seen in look(Input(Path(asked["path"])), cutter, options):
                wire.write(out, seen)
        except MemoryError:
            wire.write(out, Ended(problem="cannot be worked on: too little memory"))


if __name__ == "__main__":
    main()
