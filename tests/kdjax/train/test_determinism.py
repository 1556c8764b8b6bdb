"""The wish for deterministic kernels: in time, too late, contradicted."""

import os
import subprocess
import sys

import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.train import determinism
from kdjax.train.setup import make_plan

FLAG = "--xla_gpu_deterministic_ops=true"


@pytest.fixture
def flags(monkeypatch):
    """The function that sets the flags, and leaves them as they were afterwards."""
    return lambda text: monkeypatch.setenv("XLA_FLAGS", text)


def test_in_time_the_flag_is_set_beside_others(flags):
    flags("--xla_dump_to=x")
    determinism.ask(True, started=False)
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {FLAG}"
    determinism.ask(True, started=False)
    assert os.environ["XLA_FLAGS"].count("deterministic") == 1


def test_nothing_is_done_where_nothing_is_wanted_or_needed(flags):
    flags("")
    determinism.ask(False, started=False)
    determinism.ask(True, started=True, platform="cpu")
    assert os.environ["XLA_FLAGS"] == ""
    flags(FLAG)
    determinism.ask(True, started=True, platform="gpu")


def test_too_late_on_a_gpu_the_variable_is_named(flags):
    flags("")
    with pytest.raises(
        UserError, match=rf"too late, .* \(gpu\); set XLA_FLAGS={FLAG} in the environment"
    ):
        determinism.ask(True, started=True, platform="gpu")


def test_a_contradiction_is_named(flags):
    flags("--xla_gpu_deterministic_ops=false")
    with pytest.raises(
        UserError, match=r"XLA_FLAGS has --xla_gpu_deterministic_ops=false; take it out"
    ):
        determinism.ask(True, started=False)


def test_on_a_cpu_a_run_is_built_as_without(tiny_dataset):
    overrides = {
        "data.path": str(tiny_dataset),
        "data.batch_size": "8",
        "train.deterministic": "true",
        "student.qualities": "raw",
    }
    make_plan(configs.load("supervised:resnet_tiny", overrides))


def test_jax_starts_with_the_flag_and_was_not_started_by_the_question():
    program = (
        "import os\n"
        "from kdjax.train import determinism\n"
        "assert not determinism.has_started()\n"
        "determinism.ask(True, started=determinism.has_started())\n"
        "import jax\n"
        "assert int(jax.numpy.ones(2).sum()) == 2\n"
        "assert determinism.has_started()\n"
        "print(os.environ['XLA_FLAGS'])\n"
    )
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True
    )
    assert found.stdout.strip().endswith(FLAG)
