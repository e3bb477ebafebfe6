"""The engines: streams, task groups and shutdown. They know the stages; the stages never know them."""
