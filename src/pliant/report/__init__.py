"""Figures and tables of finished and running experiments; reads run directories and imports no other package."""

from .curves import Curve as Curve
from .curves import Panel as Panel
from .curves import Reference as Reference
from .curves import Values as Values
from .curves import curves_of as curves_of
from .curves import values_of as values_of
from .figures import plot as plot
from .load import Run as Run
from .load import load as load
from .shards import DamagedRunError as DamagedRunError
from .shards import Shard as Shard
from .statistics import Estimate as Estimate
from .statistics import bin_maxima as bin_maxima
from .statistics import bin_means as bin_means
from .statistics import bootstrap_interval as bootstrap_interval
from .statistics import interquartile_mean as interquartile_mean
from .statistics import standard_error as standard_error
from .statistics import standard_error_interval as standard_error_interval
from .summary import summary as summary
from .tables import Cell as Cell
from .tables import Table as Table
from .tables import format_cell as format_cell
from .tensorboard import tensorboard as tensorboard
from .write import write as write
