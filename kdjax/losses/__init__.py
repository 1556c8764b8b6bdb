"""Losses: pure functions of arrays, without parameters or state."""

from kdjax.losses.frequency import frequency_attention as frequency_attention
from kdjax.losses.logits import cross_entropy as cross_entropy
from kdjax.losses.logits import kd as kd
from kdjax.losses.reductions import masked_mean as masked_mean
from kdjax.losses.spatial import match_spatial as match_spatial
from kdjax.losses.spatial import pool_to as pool_to
from kdjax.losses.view_contrast import multi_view as multi_view
from kdjax.losses.view_contrast import multi_view_and_closed as multi_view_and_closed
from kdjax.losses.wasserstein import directions as directions
from kdjax.losses.wasserstein import sliced_wasserstein as sliced_wasserstein
from kdjax.losses.wasserstein import view_densities as view_densities
from kdjax.losses.wasserstein import view_density as view_density
