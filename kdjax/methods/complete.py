"""Shipped factories called by hand: what is not given is at its default."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from kdjax.defaults import COMMON, defaults
from kdjax.methods.base import Network, Teacher
from kdjax.methods.part import Part
from kdjax.methods.shares import part_shares


def with_defaults(name: str) -> Callable[[Callable[..., Part]], Callable[..., Part]]:
    """Returns a decorator of a part's factory that fills in the options of `kdjax.defaults`.

    The decorated factory takes `**defaults(name)` as well: `shares` become the part's; options of every method, which
    no part has, may be given at their default alone, since it is `assemble` that takes them.
    """

    def decorate(factory: Callable[..., Part]) -> Callable[..., Part]:
        @functools.wraps(factory)
        def filled(student: Network, teachers: Sequence[Teacher], **given: Any) -> Part:
            known = defaults(name)
            usual = known["shares"]
            for key in COMMON:
                if given.pop(key, COMMON[key]) != COMMON[key]:
                    raise ValueError(
                        f"{key} is of the whole method: give it to assemble, or build the method by methods.create"
                    )
                known.pop(key)
            options = {**known, **given, "shares": {**usual, **given.get("shares", {})}}
            shares = options.pop("shares")
            part = factory(student, teachers, **options)
            return part._replace(shares=part_shares(name, part.term_names, shares, usual))

        return filled

    return decorate
