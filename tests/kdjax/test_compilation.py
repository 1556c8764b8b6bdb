"""Programs that one process has compiled are there for the next, and in a folder of the user's alone."""

import os
import subprocess
import sys

import pytest

from kdjax import compilation

COUNT = """
from kdjax.compilation import keep_programs
print(keep_programs() or "kept")
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
print(sum(name.endswith("cache_hits") for name in hits))
"""


def run(tmp_path, **own):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in (compilation.VARIABLE, "XDG_CACHE_HOME")
    }
    environment |= {"HOME": str(tmp_path), **own}
    done = subprocess.run(
        [sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True
    )
    kept, hits = done.stdout.split("\n")[:2]
    return kept, int(hits)


def test_the_next_process_finds_what_this_one_has_compiled(tmp_path):
    assert run(tmp_path) == ("kept", 0)
    folder = compilation.default_folder({"XDG_CACHE_HOME": str(tmp_path / ".cache")})
    assert folder.stat().st_mode & 0o777 == 0o700
    assert any(folder.iterdir())
    kept, hits = run(tmp_path)
    assert kept == "kept"
    assert hits > 0


def test_jax_own_variable_decides(tmp_path):
    other = tmp_path / "other"
    kept, hits = run(tmp_path, **{compilation.VARIABLE: str(other)})
    assert (kept, hits) == ("kept", 0)
    assert any(other.iterdir())
    assert not (tmp_path / ".cache").exists()
    # empty: nothing is kept
    assert [run(tmp_path, **{compilation.VARIABLE: ""})[1] for _ in range(2)] == [0, 0]
    assert not (tmp_path / ".cache").exists()


def test_the_folder_is_xdgs_where_that_is_set(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    assert compilation.keep_programs(environment) == ""
    assert environment[compilation.VARIABLE].startswith(f"{tmp_path}/kdjax/xla/")


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_into_is_not_used(tmp_path, mode, level):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    whole = compilation.default_folder(environment)
    whole.mkdir(parents=True)
    folder = (whole, *whole.parents)[level]
    folder.chmod(mode)
    assert f"chmod 700 {folder}" in compilation.keep_programs(environment)
    assert compilation.VARIABLE not in environment


def test_a_link_is_not_followed_and_a_file_is_no_folder(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    folder = compilation.default_folder(environment)
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tmp_path)
    assert "not a folder of yours" in compilation.keep_programs(environment)
    folder.unlink()
    folder.write_text("")
    assert str(folder) in compilation.keep_programs(environment)
    assert compilation.VARIABLE not in environment


def test_a_home_that_cannot_be_written_costs_the_cache_alone(tmp_path):
    (tmp_path / "kdjax").write_text("a file is in the way")
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    assert str(tmp_path) in compilation.keep_programs(environment)
    assert compilation.VARIABLE not in environment


@pytest.mark.parametrize("word", ["false", "0", "OFF"])
def test_jax_own_switch_is_heeded(tmp_path, word):
    environment = {"XDG_CACHE_HOME": str(tmp_path), compilation.SWITCH: word}
    assert compilation.keep_programs(environment) == ""
    assert compilation.VARIABLE not in environment
    assert not list(tmp_path.iterdir())


def test_without_a_home_nothing_is_kept(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compilation.Path, "home", homeless)
    environment = {}
    assert compilation.keep_programs(environment) == "there is no home folder"
    assert environment == {}
