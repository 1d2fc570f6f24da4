"""Starting from what another run learnt: its weights taken over, layers kept as they are."""

from segkit.transfer.freezing import freeze
from segkit.transfer.starting import Taken, start_from

__all__ = ["Taken", "freeze", "start_from"]
