"""pliant keeps neural networks able to learn: plasticity for any JAX network and any optax loop."""

from pliant.core.base import Edit as Edit
from pliant.core.base import Surgery as Surgery
from pliant.core.base import Topology as Topology
from pliant.core.base import plastic as plastic
from pliant.core.base import stateless_surgery as stateless_surgery
from pliant.core.timing import every as every
from pliant.core.timing import restart as restart
from pliant.core.timing import until as until
from pliant.core.units import Group as Group
from pliant.core.units import Incoming as Incoming
from pliant.core.units import Outgoing as Outgoing
from pliant.core.units import Vector as Vector
from pliant.core.units import Wiring as Wiring
from pliant.surgery.adam import adam as adam
from pliant.tracing.trace import TracingError as TracingError
from pliant.tracing.trace import trace as trace

from .methods import continual_backprop as continual_backprop
from .methods import full_reset as full_reset
from .methods import head_reset as head_reset
from .methods import l2 as l2
from .methods import l2_init as l2_init
from .methods import layer_reset as layer_reset
from .methods import neuroplastic_expansion as neuroplastic_expansion
from .methods import redo as redo
from .methods import shrink_and_perturb as shrink_and_perturb
from .methods import static_sparse as static_sparse
