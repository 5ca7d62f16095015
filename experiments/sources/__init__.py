"""Which sources of candidates find most: what could be asked instead of, or beside, what the default asks."""
