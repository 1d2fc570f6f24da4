"""Folder data sets, augmentation, and the pipeline that turns samples into batches.

`folder` reads, `writing` writes, `augment` transforms, `pipeline` batches. Nothing here imports
TensorFlow or albumentations until `pipeline` or `augment` is imported.
"""
