"""Teachers whose feature maps are larger: what a method must not care about."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from kdjax.methods import Network
from kdjax.train import checkpoint
from kdjax.types import Outputs


class Louder:
    """A linen module whose features come out multiplied; its logits do not."""

    def __init__(self, module: Any, factor: float) -> None:
        self._module, self._factor = module, factor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def apply(self, *arguments: Any, **options: Any) -> Outputs:
        """Returns the outputs in inference mode, as teachers are run."""
        return self._scaled(self._module.apply(*arguments, **options))

    def init_with_output(self, *arguments: Any, **options: Any) -> tuple[Outputs, Any]:
        """Returns the outputs and the variables."""
        outputs, variables = self._module.init_with_output(*arguments, **options)
        return self._scaled(outputs), variables

    def _scaled(self, outputs: Outputs) -> Outputs:
        features = {name: self._factor * value for name, value in outputs.features.items()}
        return outputs._replace(features=features)


@contextlib.contextmanager
def louder_teachers(factor: float) -> Iterator[None]:
    """Multiplies the features of every teacher that a run of this block loads."""
    load = checkpoint.load_best

    def load_louder(*arguments: Any, **options: Any) -> tuple[Any, ...]:
        network, *others = load(*arguments, **options)
        return (_louder(network, factor), *others)

    with mock.patch.object(checkpoint, "load_best", load_louder if factor != 1 else load):
        yield


def _louder(network: Network, factor: float) -> Network:
    return network._replace(module=Louder(network.module, factor))
