"""The data room: from files to the batches that a model trains on.

`layout` finds files, `places` and `readers` open them, `folder` makes a source of samples of them,
with `manifest` (annotations.csv), `splitting` and `cache`; `joined` reads several folders as one,
`checks` looks for what is suspicious, `writing` writes. `patches`, `augment` and `label_dropout`
change samples, `mixing` and `copy_paste` batches; `sampling` says how often an image comes, and
`pipeline` makes batches of it all. Nothing here imports TensorFlow until `pipeline` is imported.
"""
