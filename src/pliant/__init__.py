"""pliant keeps neural networks able to learn: plasticity for any JAX network and any optax loop."""

from .core.adam import adam as adam
from .core.base import Edit as Edit
from .core.base import Surgery as Surgery
from .core.base import Topology as Topology
from .core.base import plastic as plastic
from .core.timing import anew as anew
from .core.timing import every as every
from .core.timing import until as until
from .core.tracing import TracingError as TracingError
from .core.tracing import trace as trace
from .core.units import Group as Group
from .core.units import Incoming as Incoming
from .core.units import Outgoing as Outgoing
from .core.units import Vector as Vector
from .core.units import Wiring as Wiring
from .methods import continual_backprop as continual_backprop
from .methods import full_reset as full_reset
from .methods import head_reset as head_reset
from .methods import l2 as l2
from .methods import l2_init as l2_init
from .methods import layer_reset as layer_reset
from .methods import neuroplastic_expansion as neuroplastic_expansion
from .methods import redo as redo
from .methods import shrink_and_perturb as shrink_and_perturb
