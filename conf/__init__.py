"""The config tree, installed as segkit.conf; data only."""
