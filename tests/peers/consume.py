"""Reads Kafka topics from the beginning with confluent-kafka and prints one JSON line a record.

Ends when every partition has been read to its end and nothing has come for --idle seconds, or after
--count records; without both it goes on until it is killed. It knows nothing of Forebay.
"""

import argparse
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

# Seconds after which a partition that gives neither a record nor its end is given up.
SILENCE_MAX = 120

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
        "enable.partition.eof": True,
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
# Partitions that have not been read to their end yet.
unread = {(partition.topic, partition.partition) for partition in partitions}
while arguments.count is None or count < arguments.count:
    message = consumer.poll(0.2)
    if message is None:
        if arguments.idle is not None and not unread and time.monotonic() - last > arguments.idle:
            break
        if arguments.idle is not None and time.monotonic() - last > SILENCE_MAX:
            sys.exit(f"nothing comes, and these are not read to their end: {sorted(unread)}")
        sys.stdout.flush()
        continue
    if message.error():
        if message.error().code() == KafkaError._PARTITION_EOF:
            unread.discard((message.topic(), message.partition()))
        elif message.error().fatal():
            raise KafkaException(message.error())
        continue
    last = time.monotonic()
    count += 1
    unread.add((message.topic(), message.partition()))
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
