"""From a reference in the manifest to bytes that the service takes: sources, geometry, preparation."""
