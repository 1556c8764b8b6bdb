"""The environment of the package's HTML templates."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from kdjax.checks import counted


def environment() -> Environment:
    """Returns an environment that escapes what it shows and refuses names that there are not."""
    made = Environment(
        loader=PackageLoader("kdjax.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["counted"] = counted
    return made
