"""Hyperparameter search: what is drawn, the study that several processes share, its files."""
