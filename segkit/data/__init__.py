"""Folder data sets, augmentation, and the pipeline that turns samples into batches.

`folder` reads, `joined` reads several data sets as one, `writing` writes, `augment` and
`label_dropout` change samples, `mixing` changes batches, `pipeline` makes them. Nothing here
imports TensorFlow or albumentations until `pipeline` or `augment` is imported.
"""
