"""Losses: pure functions of arrays, without parameters or state."""

from kdjax.losses.collaborative import collaborative as collaborative
from kdjax.losses.composed import AddTerms as AddTerms
from kdjax.losses.composed import add as add
from kdjax.losses.composed import add_terms as add_terms
from kdjax.losses.composed import ckd as ckd
from kdjax.losses.composed import qad as qad
from kdjax.losses.composed import tokd as tokd
from kdjax.losses.contrastive import contrastive_nce as contrastive_nce
from kdjax.losses.contrastive import contrastive_normalizer as contrastive_normalizer
from kdjax.losses.contrastive import crd as crd
from kdjax.losses.features import VARIANCE_FLOOR as VARIANCE_FLOOR
from kdjax.losses.features import attention_transfer as attention_transfer
from kdjax.losses.features import center as center
from kdjax.losses.features import fitnet as fitnet
from kdjax.losses.features import normalized_distance as normalized_distance
from kdjax.losses.features import pairwise as pairwise
from kdjax.losses.features import unit_vectors as unit_vectors
from kdjax.losses.features import vid as vid
from kdjax.losses.frequency import frequency_attention as frequency_attention
from kdjax.losses.hsic import hsic as hsic
from kdjax.losses.logits import cross_entropy as cross_entropy
from kdjax.losses.logits import kd as kd
from kdjax.losses.logits import logit_mse as logit_mse
from kdjax.losses.logits import soft_label as soft_label
from kdjax.losses.logits import tempered_softmax as tempered_softmax
from kdjax.losses.reductions import at_least_float32 as at_least_float32
from kdjax.losses.reductions import masked_mean as masked_mean
from kdjax.losses.relations import pkt as pkt
from kdjax.losses.relations import rkd_angle as rkd_angle
from kdjax.losses.relations import rkd_distance as rkd_distance
from kdjax.losses.relations import similarity_preserving as similarity_preserving
from kdjax.losses.spatial import match_spatial as match_spatial
from kdjax.losses.spatial import pool_to as pool_to
from kdjax.losses.view_contrast import multi_view as multi_view
from kdjax.losses.view_contrast import multi_view_and_closed as multi_view_and_closed
from kdjax.losses.wasserstein import directions as directions
from kdjax.losses.wasserstein import sliced_wasserstein as sliced_wasserstein
from kdjax.losses.wasserstein import view_densities as view_densities
from kdjax.losses.wasserstein import view_density as view_density

__all__ = [
    "AddTerms",
    "add",
    "add_terms",
    "at_least_float32",
    "attention_transfer",
    "center",
    "ckd",
    "collaborative",
    "contrastive_nce",
    "contrastive_normalizer",
    "crd",
    "cross_entropy",
    "directions",
    "fitnet",
    "frequency_attention",
    "hsic",
    "kd",
    "logit_mse",
    "masked_mean",
    "match_spatial",
    "multi_view",
    "multi_view_and_closed",
    "normalized_distance",
    "pairwise",
    "pkt",
    "pool_to",
    "qad",
    "rkd_angle",
    "rkd_distance",
    "similarity_preserving",
    "sliced_wasserstein",
    "soft_label",
    "tempered_softmax",
    "tokd",
    "unit_vectors",
    "vid",
    "view_densities",
    "view_density",
]
