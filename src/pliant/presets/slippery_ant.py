"""The published program's configurations for SlipperyAnt (folder `sant`), by the names of their files; see Ant's.

Frictions are drawn from each member's seed; theirs come from a table with a row for each of 100 seeds.
"""

from ._ppo import four

PRESETS = four({"name": "slippery_ant", "version": "v3", "steps": 20_000_000, "change_time": 2_000_000}, seeds="100")
