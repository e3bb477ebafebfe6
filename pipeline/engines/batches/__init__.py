"""The engine of `api.mode = "batches"` and `"auto"`: see `engine`."""
