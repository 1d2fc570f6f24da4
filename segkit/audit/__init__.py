"""What `segkit audit` does: finds annotations that are probably missing, and shows them."""

from segkit.audit.evidence import Cell, Seen, cells, look
from segkit.audit.ranking import Row, rank
from segkit.audit.running import run

__all__ = ["Cell", "Row", "Seen", "cells", "look", "rank", "run"]
