"""HTTP beside Kafka, for programs that speak no Kafka; read ``app.py`` first. Knows the topics, never a model."""
