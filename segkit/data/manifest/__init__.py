"""annotations.csv: what is known of each image beside its files."""

from segkit.data.manifest.rows import (
    ALL,
    FILE_NAME,
    HEADER,
    SEPARATOR,
    Manifest,
    Row,
    format_annotated,
    parse_annotated,
    read_manifest,
)

__all__ = [
    "ALL",
    "FILE_NAME",
    "HEADER",
    "SEPARATOR",
    "Manifest",
    "Row",
    "format_annotated",
    "parse_annotated",
    "read_manifest",
]
