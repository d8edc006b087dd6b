"""Diagnostics: numbers that show how a network gains or loses plasticity, one in a file."""

from ._active_fraction import active_fraction as active_fraction
from ._approximate_rank import approximate_rank as approximate_rank
from ._dormant_fraction import dormant_fraction as dormant_fraction
from ._effective_rank import effective_rank as effective_rank
from ._gradient_magnitude import gradient_magnitude as gradient_magnitude
from ._inactive_fraction import inactive_fraction as inactive_fraction
from ._mask_overlap import mask_overlap as mask_overlap
from ._rank import rank as rank
from ._replacements import replacements as replacements
from ._saturated_fraction import saturated_fraction as saturated_fraction
from ._sparsity import sparsity as sparsity
from ._stable_rank import stable_rank as stable_rank
from ._topology_steps import topology_steps as topology_steps
from ._unit_age import unit_age as unit_age
from ._unit_utility import unit_utility as unit_utility
from ._weight_change import weight_change as weight_change
from ._weight_magnitude import weight_magnitude as weight_magnitude
