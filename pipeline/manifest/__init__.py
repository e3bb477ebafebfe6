"""The producer: rows of a manifest become items, streamed, with stable ids."""
