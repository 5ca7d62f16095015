"""What people would use instead of the product's ranker, each a row of the same table on the same queries."""
