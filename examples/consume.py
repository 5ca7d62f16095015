"""Ask for a feed and read it with plain kafka-python.

python examples/consume.py [BOOTSTRAP_SERVERS]
"""

import json
import sys
import time
import uuid

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

servers = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
request = {"request_id": str(uuid.uuid4()), "user_id": 7, "candidates": [10, 11, 12, 13], "top_k": 3}
consumer = KafkaConsumer(
    bootstrap_servers=servers, fetch_max_wait_ms=50, consumer_timeout_ms=10_000, enable_auto_commit=False,
    isolation_level="read_committed", value_deserializer=json.loads,
)  # fmt: skip
partitions = [TopicPartition("ranked-feeds", number) for number in consumer.partitions_for_topic("ranked-feeds") or ()]
consumer.assign(partitions)
consumer.seek_to_end()
ends = [consumer.position(partition) for partition in partitions]  # known before the request goes out
producer = KafkaProducer(bootstrap_servers=servers, acks="all")
producer.send("ranking-requests", key=str(request["user_id"]).encode(), value=json.dumps(request).encode())
producer.flush()
asked_at = time.perf_counter()
for record in consumer:
    feed = record.value
    if feed["request_id"] == request["request_id"]:
        print(f"answered after {1000 * (time.perf_counter() - asked_at):.1f} ms")
        for rank, item in enumerate(feed.get("items", []), start=1):
            print(rank, item["item_id"], item["score"])
        sys.exit(feed.get("error", {}).get("message"))
sys.exit("no feed within 10 s; is a worker running?")
