"""Published figures from Python: run a recipe, compare it with the paper, write a page about it.

recipe = pliant.recipes.regression.make(scale=0.1)
runs = reproduction.run(recipe, Path("runs"))
figures = reproduction.compare(recipe, runs)
figures["regression"].table.to_terminal()
"""

from .book import write_book as write_book
from .book import write_overview as write_overview
from .comparison import Figure as Figure
from .comparison import compare as compare
from .evaluations import episodes_of as episodes_of
from .evaluations import table_of as table_of
from .files import write_figure as write_figure
from .files import write_table as write_table
from .files import write_tables as write_tables
from .overview import Part as Part
from .overview import overview as overview
from .runs import check as check
from .runs import plans_of as plans_of
from .runs import run as run
from .runs import run_of as run_of
