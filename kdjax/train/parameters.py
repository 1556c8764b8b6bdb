"""Parameters chosen by regular expressions of their paths, as `student/stage1_block1/conv1/kernel`."""

import difflib
import re
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from kdjax.checks import check_pattern
from kdjax.types import PyTree

STUDENT = "student"
"""The group, and the beginning of the paths, of the student's own."""

NEAREST = 3
"""Paths that are named where an expression matches none."""


def path_of(keys: Iterable[object]) -> str:
    """Returns the path of a leaf, its names joined by `/`."""
    return jax.tree_util.keystr(tuple(keys), simple=True, separator="/")


def paths(params: PyTree) -> list[str]:
    """Returns the paths of all leaves."""
    return [path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(params)]


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Returns whether one of the expressions is found anywhere in a path."""
    return any(re.search(pattern, path) for pattern in patterns)


def check_found(key: str, pattern: str, known: Sequence[str]) -> None:
    """Raises ValueError where an expression matches no path, naming those that are nearest to it."""
    if any(re.search(pattern, path) for path in known):
        return
    parts = dict.fromkeys(
        "/".join(names[:count])
        for names in (path.split("/") for path in known)
        for count in range(1, len(names) + 1)
    )
    close = difflib.get_close_matches(pattern, parts, n=NEAREST, cutoff=0.0)
    raise ValueError(f"{key}={pattern!r} matches no parameter; the nearest are {', '.join(close)}")


def factors(texts: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """Returns `REGEX:FACTOR` texts, of `optimizer.groups`, as pairs.

    Raises:
      ValueError: for another form, a factor that is no finite number of at least 0, or no regular expression.
    """
    found = []
    for text in texts:
        pattern, colon, number = text.rpartition(":")
        try:
            factor = float(number)
        except ValueError:
            factor = float("nan")
        if not colon or not 0 <= factor < float("inf"):
            raise ValueError(
                f"optimizer.groups={text!r} must be REGEX:FACTOR with a finite factor of at least 0, as "
                "student/stage1:0.1"
            )
        check_pattern("optimizer.groups", pattern)
        found.append((pattern, factor))
    return tuple(found)


def without(tree: PyTree, patterns: Sequence[str], group: str) -> PyTree:
    """Returns a group's tree with zeros in place of what the expressions choose."""
    if not patterns:
        return tree
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: (
            jnp.zeros_like(leaf) if matches(f"{group}/{path_of(keys)}", patterns) else leaf
        ),
        tree,
    )
