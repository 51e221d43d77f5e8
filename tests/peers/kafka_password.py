"""Changes a user's SCRAM passwords: kafka_password.py BROKERS USER PASSWORD"""

import sys

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

brokers, user, password = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": brokers})
mechanisms = [ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512]
# One question for each: a broker takes one change of a user at a time.
for mechanism in mechanisms:
    change = UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
    for answer in admin.alter_user_scram_credentials([change]).values():
        answer.result(timeout=20)
