"""kdjax: knowledge distillation for deepfake detectors, functional and in JAX."""

from kdjax.version import __version__ as __version__
