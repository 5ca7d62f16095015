"""The hybrid ranker around TransAct: examples, training, export."""
