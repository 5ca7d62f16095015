"""Values framed with the id of a registered schema, as serializers of a schema registry write them, read as JSON."""
