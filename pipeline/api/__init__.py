"""The Messages API as a client sees it: models and prices, bodies in and out, transport, retries, one turn."""
