"""The data sets that are made of files: the user's own, and those that labs distribute, each by the tree it reads."""

from kdjax.data_pipeline.builders.media import MediaDataset
from kdjax.data_pipeline.builders.options import FolderConfig
from kdjax.data_pipeline.trees import (
    celebdf,
    deepfakebench,
    dfdc,
    faceforensics,
    ffiw,
    folder,
    table,
)


class Folder(MediaDataset):
    """Faces from the user's own images and videos, in three qualities."""

    CONFIG = FolderConfig
    TREE = folder


class FaceForensics(MediaDataset):
    """Faces from FaceForensics++ or DeepFakeDetection, in the qualities that were downloaded."""

    name = "faceforensics"
    TREE = faceforensics


class CelebDF(MediaDataset):
    """Faces from Celeb-DF."""

    name = "celebdf"
    TREE = celebdf


class Ffiw(MediaDataset):
    """Faces from FFIW10K."""

    TREE = ffiw


class Dfdc(MediaDataset):
    """Faces from the training parts of the Deepfake Detection Challenge."""

    TREE = dfdc


class DeepfakeBench(MediaDataset):
    """Faces that DeepfakeBench has cut out."""

    name = "deepfakebench"
    TREE = deepfakebench


class Videos(MediaDataset):
    """Faces from the videos and images of a table."""

    TREE = table


BUILDERS = {
    each.name: each for each in (Folder, FaceForensics, CelebDF, Ffiw, Dfdc, DeepfakeBench, Videos)
}
"""The data sets made of files, by name."""
