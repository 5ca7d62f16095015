"""Send three items with plain kafka-python, and that a fourth is gone.

    python examples/items.py [BOOTSTRAP_SERVERS]

The key is the text of id in UTF-8: the topic is compacted, so the last record of each key stays.
``rankstream catalogue follow catalogue`` makes a catalogue of them.
"""

import json
import sys
import time

from kafka import KafkaProducer

servers = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
producer = KafkaProducer(bootstrap_servers=servers, acks="all", key_serializer=lambda item_id: str(item_id).encode())
now_ms = int(time.time() * 1000)
for item_id, title, price in ((10, "Trail X", 59.9), (11, "Road Y", 89.0), (12, "Sandal Z", 25.5)):
    item = {"id": item_id, "title": title, "category": ["Shoes", title.split()[0]], "price": price, "currency": "EUR"}
    producer.send("item-updates", key=item_id, value=json.dumps(item | {"created_at_ms": now_ms}).encode())
producer.send("item-updates", key=13, value=None)
producer.flush()
print("sent 3 items")
