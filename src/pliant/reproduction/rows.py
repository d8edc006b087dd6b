"""The numbers behind a page, as a Parquet file that is small enough for a repository."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_MOST = 80_000  # rows of a figure: about 250 kB


def thinned(rows: pd.DataFrame, kept: Collection[int], most: int = _MOST) -> pd.DataFrame:
    """Leaves out bins of a long figure, evenly, until it has at most `most` rows.

    Args:
        rows: of a figure, as `compare` returns them.
        kept: steps that stay, such as those of the paper's numbers; the first and the last bin of a line stay, too.
        most: the number of rows from which bins are left out.

    Returns:
        The rows of every k-th bin of each line, and of the bins that stay.
    """
    every = -(-len(rows) // most)
    if every <= 1:
        return rows
    steps = rows.groupby(["panel", "method", "measure"], sort=False)["step"]
    index = steps.rank("dense").astype(int) - 1
    stays = (index % every == 0) | (rows["step"] == steps.transform("max")) | rows["step"].isin(list(kept))
    return rows[stays].reset_index(drop=True)


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Writes a tidy frame as Parquet, with fractions in the precision of float32, like metrics.

    The same rows give the same bytes.
    """
    fractions = [name for name in rows if rows[name].dtype.kind == "f"]
    table = pa.Table.from_pandas(rows.astype(dict.fromkeys(fractions, np.float32)), preserve_index=False)
    pq.write_table(
        table.replace_schema_metadata(None),
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in rows if name not in fractions],
        use_byte_stream_split=fractions,  # bytes of the same magnitude side by side are compressed best
    )
