"""`kdjax demo`: the whole job on data it makes itself."""

from kdjax.demo.job import run_demo
from kdjax.demo.plan import RUNS
from kdjax.demo.telling import beside_alone

__all__ = ["RUNS", "beside_alone", "run_demo"]
