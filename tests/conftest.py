"""Strict by default: four virtual CPU devices, no implicit rank promotion, warnings are errors."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=4",
        # on a busy machine four devices may wait for each other longer than XLA thinks is no deadlock
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
        # tiny networks take longer to compile than to run
        "--xla_backend_optimization_level=0",
    ]
)

# a shell's background job starts with SIGINT ignored, and what it starts does too: tests that interrupt would wait
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# equal programs of different tests are compiled once; nothing outlives the session. xdist's workers find the folder of
# the process that started them
SHARED = "KDJAX_TESTS_COMPILED"
if SHARED not in os.environ:
    os.environ[SHARED] = tempfile.mkdtemp(prefix="kdjax-tests-")
    atexit.register(shutil.rmtree, os.environ[SHARED], ignore_errors=True)
# processes that tests start keep theirs apart, and nothing in the user's folders: they may be killed while they write;
# set before JAX is imported, which takes it up
_worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{os.environ[SHARED]}/started-by-{_worker}"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
from jax._src import lru_cache

from kdjax.configs import programs

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", f"{os.environ[SHARED]}/tests")
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _put(self: lru_cache.LRUCache, key: str, value: bytes) -> None:
    """Keeps a program as JAX does, but whole or not at all: other workers may read it at any time."""
    place = self.path / f"{key}{lru_cache._CACHE_SUFFIX}"
    part = place.with_name(f"{place.name}.{os.getpid()}.{threading.get_ident()}")
    part.write_bytes(value)
    os.replace(part, place)


lru_cache.LRUCache.put = _put  # type: ignore[method-assign]

MANY_PROGRAMS = 500
TINY_SIZE = 32
TINY_COUNTS = {"train": 48, "validation": 16, "test": 20}


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set of noise: a fake has a bright square, fainter the worse the quality."""
    return write_dataset(tmp_path_factory.mktemp("tiny"), tiny_example)


@pytest.fixture(scope="session")
def labelled_dataset(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Callable[[int], int]], Path]:
    """The function that writes a tiny data set of other labels, decided by each record's number."""

    def write(label: Callable[[int], int]) -> Path:
        folder = tmp_path_factory.mktemp("labelled")
        return write_dataset(
            folder, lambda number: {**tiny_example(number), "label": label(number)}
        )

    return write


@pytest.fixture(scope="session")
def forged_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with three kinds of forgery in turn, by video."""
    from kdjax.types import FORGERIES

    kinds = [FORGERIES.index(name) for name in ("mouth", "graphics", "expression")]

    def example(number: int) -> dict:
        found = tiny_example(number)
        return {**found, "forgery": kinds[number // 2 % 3] if found["label"] else 0}

    return write_dataset(tmp_path_factory.mktemp("forged"), example)


@pytest.fixture(autouse=True)
def forgotten_programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets each test have programs of the same name, and folders of its own on the path."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in programs._LOADED:
        sys.modules.pop(name, None)
    programs._LOADED.clear()


def write_dataset(folder: Path, example: Callable[[int], dict]) -> Path:
    """Writes a data set of so many records and returns its folder."""
    import tensorflow_datasets as tfds

    from kdjax.data_pipeline.builders import schema

    # a second data set would be another of that name
    with tfds.core.registered.skip_registration():

        class Tiny(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=schema.features(TINY_SIZE))

            def _split_generators(self, dl_manager):
                first = np.cumsum([0, *TINY_COUNTS.values()])
                return {
                    split: self._generate_examples(int(start), count)
                    for (split, count), start in zip(TINY_COUNTS.items(), first[:-1], strict=True)
                }

            def _generate_examples(self, start, count):
                for number in range(start, start + count):
                    yield number, example(number)

    builder = Tiny(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)


@pytest.fixture(autouse=True)
def _few_programs() -> Iterator[None]:
    """Lets go of compiled programs once they are many: XLA's CPU compiler has crashed in one long process."""
    yield
    if len(jax.devices()[0].client.live_executables()) > MANY_PROGRAMS:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _same_draws(request: pytest.FixtureRequest) -> None:
    """A module's `rng` starts anew in each test: its draws do not depend on which tests ran before."""
    rng = getattr(request.module, "rng", None)
    if isinstance(rng, np.random.Generator):
        rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


def tiny_example(number: int) -> dict:
    """Returns record `number` of the tiny data set."""
    from kdjax.data_pipeline.builders import schema
    from kdjax.types import QUALITIES

    rng = np.random.default_rng(number)
    label = number % 2
    base = rng.integers(60, 120, (TINY_SIZE, TINY_SIZE, 3))
    mask = np.zeros((TINY_SIZE, TINY_SIZE), np.uint8)
    images = {}
    if label:
        mask[8:24, 8:24] = 255
    for rank, quality in enumerate(QUALITIES):
        image = base + (mask[..., None] > 0) * (90 - 30 * rank)
        images[quality] = image.clip(0, 255).astype(np.uint8)
    return schema.encode_example(
        images,
        mask,
        label=label,
        forgery="mouth" if label else "none",
        video=number // 2,
        identity=number // 4,
        frame=number % 2,
    )


@pytest.fixture
def handled():
    """Lets both signals be handled, as in a terminal: a shell's background job starts with SIGINT ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
