"""Pages that explain a run to somebody who was not there: files in, one HTML file out."""

from segkit.report.run_page import write

__all__ = ["write"]
