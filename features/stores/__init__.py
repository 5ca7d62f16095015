"""Where users' states are kept: in memory, in RocksDB, and a write-back cache above either."""
