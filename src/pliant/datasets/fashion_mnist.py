"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes in the format of MNIST, 28 x 28 pixels.

Debian's package `dataset-fashion-mnist` has the files.

References:
    Xiao, Rasul and Vollgraf, `Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms
    <https://arxiv.org/abs/1708.07747>`_, 2017.
"""

from pathlib import Path

from ._idx import read_folder as read
from ._idx import write_folder as write
from ._images import Images
from ._sources import Remote, fetched

__all__ = ["SYNTHETIC", "load", "read", "write"]

SYNTHETIC = {"classes": 10, "train": 200, "test": 20, "side": 28, "channels": 1}

_URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
_FILES = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_PLACES = (Path("/usr/share/datasets/fashion-mnist"),)  # of Debian's package, which compresses the files again


def load() -> Images:
    """The data set from Debian's package or the cache, after a download if need be."""
    files = {file: Remote(_URL + file, sha256) for file, sha256 in _FILES.items()}
    return read(fetched("fashion_mnist", files, _PLACES, "install Debian's package dataset-fashion-mnist"))
