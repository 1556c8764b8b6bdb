"""Wanted shares of the cross-entropy's gradient, as the configuration names them, by term."""

from collections.abc import Mapping, Sequence

from kdjax.checks import check_non_negative, nearest

ANY = "loss"
"""Stands for the one term of a part whose term is called after the loss that was chosen."""


def part_shares(
    part: str,
    term_names: Sequence[str],
    shares: Mapping[str, float],
    usual: Mapping[str, float],
) -> dict[str, float]:
    """Returns the shares of the terms that a part has; a term without one is not balanced.

    Args:
      part: name of the part.
      term_names: its terms, as it is configured.
      shares: `method.shares`. What the configuration leaves out may keep its default share.
      usual: the default shares.

    Raises:
      ValueError: for a share that is negative, or that names no term; when no share at all names one of the terms.
    """
    found: dict[str, float] = {}
    for name, share in shares.items():
        check_non_negative(f"method.shares.{name}", share)
        terms = tuple(term_names) if name == ANY else (name,)
        if terms and set(terms) <= set(term_names):
            found |= dict.fromkeys(terms, float(share))
        elif share != usual.get(name):
            hint = nearest(name, term_names) if term_names else "it has none"
            raise ValueError(
                f"method.shares.{name}={share} is set, but {part} as configured has no such term; {hint}"
            )
    if shares and term_names and not found:
        raise ValueError(
            f"method.shares of {part} names {', '.join(shares)}; its terms are {', '.join(term_names)}"
        )
    return found
