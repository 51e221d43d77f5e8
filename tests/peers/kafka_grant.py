"""Grants Kafka permissions: kafka_grant.py BROKERS USER OPERATION:KIND:NAME..."""

import sys

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

brokers, user, *permissions = sys.argv[1:]
kinds = {"topic": ResourceType.TOPIC, "transactional_id": ResourceType.TRANSACTIONAL_ID, "group": ResourceType.GROUP}
bindings = []
for permission in permissions:
    operation, kind, name = permission.split(":")
    bindings.append(
        AclBinding(
            kinds[kind],
            name,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
    )
admin = AdminClient({"bootstrap.servers": brokers})
for answer in admin.create_acls(bindings).values():
    answer.result(timeout=20)
