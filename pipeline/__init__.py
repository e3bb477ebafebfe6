"""Bulk image captioning over the Anthropic Messages API."""
