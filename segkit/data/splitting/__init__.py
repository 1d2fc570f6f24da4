"""Which images are for training, validation and testing: pure functions over names and tables."""

from segkit.data.splitting.assignment import assign, groups_of, leaks, limited

__all__ = ["assign", "groups_of", "leaks", "limited"]
