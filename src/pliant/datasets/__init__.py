"""Data sets of images, one file each: read from a folder, from where the system keeps them, or downloaded."""

from ._images import Images as Images
from ._load import SYNTHETIC as SYNTHETIC
from ._load import load_images as load_images
from ._load import names as names
from ._sources import DataError as DataError
