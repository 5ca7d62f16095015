"""What decoding JSON that can't be trusted raises; whoever reads bytes of others catches all of it."""

import msgspec

# Brackets that are nested some hundred deep, closed or not, in a field that nobody asked for, are a RecursionError.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
