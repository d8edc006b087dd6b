"""Methods that keep a network able to learn: one paper, one file."""

from ._continual_backprop import continual_backprop as continual_backprop
from ._full_reset import full_reset as full_reset
from ._head_reset import head_reset as head_reset
from ._l2 import l2 as l2
from ._l2_init import l2_init as l2_init
from ._layer_reset import layer_reset as layer_reset
from ._neuroplastic_expansion import neuroplastic_expansion as neuroplastic_expansion
from ._redo import redo as redo
from ._shrink_and_perturb import shrink_and_perturb as shrink_and_perturb
from ._static_sparse import static_sparse as static_sparse
