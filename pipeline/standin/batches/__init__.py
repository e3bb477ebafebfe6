"""The Message Batches API of the stand-in: created from a stream, kept on disk, ended by a clock that can be moved."""
