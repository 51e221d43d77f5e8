"""Reads Kafka topics from the beginning with confluent-kafka and prints one JSON line a record.

Ends when nothing has come for --idle seconds, or after --count records; without both it goes on
until it is killed. It knows nothing of Forebay.
"""

import argparse
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

parser = argparse.ArgumentParser()
parser.add_argument("--brokers", required=True)
parser.add_argument("--isolation", default="read_committed")
parser.add_argument("--idle", type=float, help="seconds")
parser.add_argument("--count", type=int)
parser.add_argument("topics", nargs="+")
arguments = parser.parse_args()

consumer = Consumer(
    {
        "bootstrap.servers": arguments.brokers,
        "group.id": "stranger",
        "isolation.level": arguments.isolation,
        "enable.auto.commit": False,
    }
)
partitions = []
for topic in arguments.topics:
    # A topic may be made after the start.
    while True:
        found = consumer.list_topics(topic, timeout=30).topics[topic]
        if found.error is None and found.partitions:
            break
        time.sleep(0.2)
    partitions += [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]
consumer.assign(partitions)

count = 0
last = time.monotonic()
while arguments.count is None or count < arguments.count:
    message = consumer.poll(0.2)
    if message is None:
        if arguments.idle is not None and time.monotonic() - last > arguments.idle:
            break
        sys.stdout.flush()
        continue
    if message.error():
        if message.error().fatal():
            raise KafkaException(message.error())
        continue
    last = time.monotonic()
    count += 1
    key, value = message.key(), message.value()
    print(
        json.dumps(
            {
                "topic": message.topic(),
                "partition": message.partition(),
                "kafka_offset": message.offset(),
                "key": None if key is None else key.decode(),
                "headers": {name: data.decode() for name, data in message.headers() or []},
                "value": "" if value is None else value.decode(),
                "timestamp": message.timestamp()[1],
            },
            ensure_ascii=False,
        )
    )
sys.stdout.flush()
consumer.close()
