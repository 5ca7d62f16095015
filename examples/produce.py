"""Send three actions of one user with plain kafka-python.

    python examples/produce.py [BOOTSTRAP_SERVERS]

The key is the text of user_id in UTF-8 and the partitioner is Kafka's own (murmur2), so all records of a user meet in
one partition. Clients built on librdkafka need ``partitioner=murmur2_random`` for that.
"""

import json
import sys
import time

from kafka import KafkaProducer

servers = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
producer = KafkaProducer(
    bootstrap_servers=servers,
    acks="all",
    key_serializer=lambda user_id: str(user_id).encode(),
    value_serializer=lambda event: json.dumps(event).encode(),
)
now_ms = int(time.time() * 1000)
for age_s, item_id, action in ((60, 10, "view"), (30, 11, "click"), (0, 11, "save")):
    event = {"user_id": 7, "item_id": item_id, "action": action, "timestamp_ms": now_ms - 1000 * age_s}
    producer.send("user-actions", key=event["user_id"], value=event)
producer.flush()
print("sent 3 actions of user 7")
