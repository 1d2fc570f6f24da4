"""Images of any size, read by window and written in strips, in bounded memory.

`opening` is what reads: `tiffs`, `stores` (zarr) and `arrays` (.npy) know where the segments of a
file lie, `segments` decodes and keeps them. `writing` is what writes ids and planes: `saving` makes
files appear whole or not at all, `sinks` has one writer a format, `overlays` blends images and ids.
"""

from segkit.data.rasters.opening import open_raster
from segkit.data.rasters.overlays import OVERLAY_SUFFIXES, write_overlay
from segkit.data.rasters.raster import Raster
from segkit.data.rasters.writing import (
    ID_SUFFIXES,
    PLANE_SUFFIXES,
    write_class_files,
    write_ids,
    write_numbers,
    write_planes,
)

__all__ = [
    "ID_SUFFIXES",
    "OVERLAY_SUFFIXES",
    "PLANE_SUFFIXES",
    "Raster",
    "open_raster",
    "write_class_files",
    "write_ids",
    "write_numbers",
    "write_overlay",
    "write_planes",
]
