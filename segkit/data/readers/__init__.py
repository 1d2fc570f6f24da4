"""Image and mask files -> arrays; whatever cannot be read right is an error that names the file.

What a file is, its first bytes say, not its suffix. `images` and `masks` are what users of the
package call; `pictures` (JPEG, PNG), `tiff` and `arrays` (.npy) decode.
"""

from segkit.data.readers.class_files import read_class_files
from segkit.data.readers.formats import IMAGE_SUFFIXES, MASK_SUFFIXES, MAX_PIXELS, Unreadable
from segkit.data.readers.images import image_size, read_image
from segkit.data.readers.masks import read_mask
from segkit.data.readers.whole import require_whole

__all__ = [
    "IMAGE_SUFFIXES",
    "MASK_SUFFIXES",
    "MAX_PIXELS",
    "Unreadable",
    "image_size",
    "read_class_files",
    "read_image",
    "read_mask",
    "require_whole",
]
