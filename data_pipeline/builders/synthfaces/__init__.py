"""The embedded default data set: rendered talking heads, five kinds of forgery, real H.264."""

from kdjax.data_pipeline.builders.synthfaces.builder import SynthFaces, SynthFacesConfig

__all__ = ["SynthFaces", "SynthFacesConfig"]
