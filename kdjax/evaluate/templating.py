"""The environment of the package's HTML templates."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Returns an environment that escapes what it shows and refuses names that there are not."""
    return Environment(
        loader=PackageLoader("kdjax.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
