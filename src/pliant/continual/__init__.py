"""How one network learns a task after others: one paper, one file."""

from ._a_gem import a_gem as a_gem
from ._ewc import ewc as ewc
from ._fine_tuning import fine_tuning as fine_tuning
from ._from_scratch import from_scratch as from_scratch
from ._l2_anchor import l2_anchor as l2_anchor
from ._lwf import lwf as lwf
from ._mas import mas as mas
from ._packnet import packnet as packnet
from ._progressive import progressive as progressive
from ._replay import replay as replay
from ._rewire import rewire as rewire
from ._si import si as si
from ._subspace import subspace as subspace
