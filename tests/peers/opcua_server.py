"""An OPC UA server on asyncua for the tests.

Prints `ready PORT`, then takes one command a line and answers `ok …` or `error …`:

  add NODE TYPE JSON   creates a variable; TYPE as in profiles (REAL, STRING, REAL[3] …), or PRESS: a
                       structure whose fields JSON has, or a list of those
  forget DEFINITION    PRESS or Zone loses its DataTypeDefinition, as before OPC UA 1.04
  set NODE JSON        writes a value, with the source time of now
  put NODE US JSON     writes a value with this source time, microseconds since 1970; `-` for none
  load MS              writes a new number to every DINT each so many milliseconds, from now on
  bad NODE             writes the status Bad
  time NODE            source time of the value, in microseconds since 1970
  fingerprint          of the server's certificate
  connections          open TCP connections
  sessions             sessions that the server holds
  created              sessions that were asked for since the start
  keys                 times that keys of a channel were issued or renewed since the start
  logins               logins that were tried since the start
  limit sessions N     refuses further sessions while it holds so many
  limit subscriptions N  the same for subscriptions
  record NODE          keeps the history of a node from now on
  alarm ID on|acked|off KIND TEXT  the state of a condition; KIND is a standard type, or a new one of ours
  message TEXT         an event that neither comes nor goes
  mute                 forgets all subscriptions without a word, and goes on answering
  quit

NODE is `s=…` or `i=…` in the namespace urn:forebay:test, with or without `ns=<alias>;` before it.
DATETIME values are microseconds since 1970.
"""

import argparse
import asyncio
import datetime
import hashlib
import json
import logging
import subprocess
import sys
import tempfile

from asyncua import Server, ua
from asyncua.common import connection
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.history import HistoryDict

URI = "urn:forebay:test"
APPLICATION = "urn:forebay:test:server"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
TYPES = {
    "BOOL": ua.VariantType.Boolean,
    "BYTE": ua.VariantType.Byte,
    "SINT": ua.VariantType.SByte,
    "USINT": ua.VariantType.Byte,
    "CHAR": ua.VariantType.String,
    "WORD": ua.VariantType.UInt16,
    "INT": ua.VariantType.Int16,
    "UINT": ua.VariantType.UInt16,
    "DWORD": ua.VariantType.UInt32,
    "DINT": ua.VariantType.Int32,
    "UDINT": ua.VariantType.UInt32,
    "TIME": ua.VariantType.Int32,
    "LWORD": ua.VariantType.UInt64,
    "LINT": ua.VariantType.Int64,
    "ULINT": ua.VariantType.UInt64,
    "REAL": ua.VariantType.Float,
    "LREAL": ua.VariantType.Double,
    "STRING": ua.VariantType.String,
    "WSTRING": ua.VariantType.String,
    "DATETIME": ua.VariantType.DateTime,
}


class OneUser:
    """Lets one user in, by password or by certificate, and guests where there is no user."""

    def __init__(self, name, password, certificate):
        self.name, self.password, self.logins = name, password, 0
        self.certificate = certificate and open(certificate, "rb").read()

    def get_user(self, iserver, username=None, password=None, certificate=None):
        self.logins += 1
        if isinstance(password, bytes):
            password = password.decode()
        known = self.name is not None and (username, password) == (self.name, self.password)
        certified = username is None and self.certificate is not None and certificate == self.certificate
        if known or certified or (self.name is None and username is None):
            return User(role=UserRole.User)
        return None


class Peer:
    def __init__(self, arguments):
        self.arguments = arguments
        self.types, self.kinds, self.defined = {}, {}, {}
        self.fingerprint = ""

    async def start(self):
        arguments = self.arguments
        self.users = OneUser(arguments.user, arguments.password, arguments.user_certificate)
        self.server = Server(user_manager=self.users)
        self.server.iserver.history_manager.set_storage(HistoryDict(arguments.history_page))
        self.server.iserver.bind_condition_methods = True
        await self.server.init()
        self.watch_sessions()
        await self.server.set_application_uri(APPLICATION)
        # Port 0 stays in the advertised address: a client must not rely on it.
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{arguments.port}")
        policies = [ua.SecurityPolicyType.NoSecurity]
        if arguments.secure:
            policies = [getattr(ua.SecurityPolicyType, name) for name in arguments.secure.split(",")]
            await self.certificate()
        self.server.set_security_policy(policies)
        tokens = [ua.AnonymousIdentityToken if arguments.user is None else ua.UserNameIdentityToken]
        if arguments.user_certificate:
            tokens = [ua.AnonymousIdentityToken, ua.UserNameIdentityToken, ua.X509IdentityToken]
        self.server.set_identity_tokens(tokens)
        for number in range(arguments.filler):
            await self.server.register_namespace(f"urn:forebay:filler:{number}")
        self.index = await self.server.register_namespace(URI)
        for node in arguments.node:
            await self.command(f"add {node}")
        await self.server.start()
        return self.server.bserver.port

    def watch_sessions(self):
        iserver, create = self.server.iserver, self.server.iserver.create_session
        self.created, self.sessions_max, self.keys = 0, None, 0
        issue = connection.SecureConnection.open

        def issued(*arguments):
            self.keys += 1
            return issue(*arguments)

        connection.SecureConnection.open = issued

        def counted(*arguments, **options):
            if options.get("external"):
                self.created += 1
                if self.sessions_max is not None and len(iserver._external_sessions) >= self.sessions_max:
                    raise ServiceError(ua.StatusCodes.BadTooManySessions)
            return create(*arguments, **options)

        iserver.create_session = counted

    async def structures(self):
        """PRESS: simple fields, an enumeration, a subtype, arrays, structures in it, one that may be left out."""
        one, many = new_struct_field, lambda name, kind: new_struct_field(name, kind, array=True)
        mode = await new_enum(self.server, self.index, "Mode", ["Stopped", "Running"])
        zone, _ = await new_struct(self.server, self.index, "Zone", [
            one("Temp", ua.VariantType.Float), one("Name", ua.VariantType.String),
        ])
        press, _ = await new_struct(self.server, self.index, "PRESS", [
            one("Running", ua.VariantType.Boolean), one("Speed", ua.VariantType.Float),
            one("Count", ua.VariantType.UInt32), one("Mode", mode), one("Name", ua.VariantType.String),
            one("Cycle", ua.NodeId(ua.ObjectIds.Duration)), many("Profile", ua.VariantType.Float),
            one("Die", zone), many("Zones", zone),
            new_struct_field("Note", ua.VariantType.String, optional=True), one("Last", ua.VariantType.Int16),
        ])
        self.defined = {"PRESS": press, "Zone": zone}
        await self.server.load_data_type_definitions()

    def structure(self, value):
        def zone(value):
            return ua.Zone(Temp=value["Temp"], Name=value["Name"])

        special = {"Die": zone, "Zones": lambda all: [zone(it) for it in all], "Mode": ua.Mode}
        return ua.PRESS(**{name: special.get(name, lambda it: it)(it) for name, it in value.items()})

    async def alarm(self, name, state, kind, text):
        """Each event is an object of its own, because the server keeps it for later."""
        etype = getattr(ua.ObjectIds, kind, None)
        if etype is None:
            if kind not in self.kinds:
                parent = ua.ObjectIds.OffNormalAlarmType
                self.kinds[kind] = await self.server.create_custom_event_type(self.index, kind, parent)
            etype = self.kinds[kind]
        generator = await self.server.get_event_generator(etype)
        event = generator.event
        event.NodeId, event.SourceName, event.Severity = ua.NodeId(name, self.index), "Filler", 700
        event.Retain, event.ConditionName = state != "off", name
        setattr(event, "ActiveState/Id", state != "off")
        setattr(event, "AckedState/Id", state != "on")
        await generator.trigger(message=text)

    async def load(self, pause):
        number = 0
        while True:
            number += 1
            for node, name in list(self.types.items()):
                if name == "DINT":
                    await self.write(node, ua.Variant(number, ua.VariantType.Int32))
            await asyncio.sleep(pause)

    async def certificate(self):
        with tempfile.TemporaryDirectory() as folder:
            key, pem, der = f"{folder}/key.pem", f"{folder}/cert.pem", f"{folder}/cert.der"
            names = f"subjectAltName=DNS:localhost,IP:127.0.0.1,URI:{APPLICATION}"
            usage = "keyUsage=digitalSignature,nonRepudiation,keyEncipherment,dataEncipherment,keyCertSign"
            make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "30"]
            make += ["-subj", "/CN=Forebay test server", "-keyout", key, "-out", pem]
            make += ["-addext", names, "-addext", usage, "-addext", "extendedKeyUsage=serverAuth,clientAuth"]
            subprocess.run(make, check=True, capture_output=True)
            subprocess.run(["openssl", "x509", "-in", pem, "-outform", "DER", "-out", der], check=True)
            with open(der, "rb") as file:
                self.fingerprint = "sha256:" + hashlib.sha256(file.read()).hexdigest()
            await self.server.load_certificate(der)
            await self.server.load_private_key(key)

    def node(self, text):
        if text.startswith("ns="):
            text = text.split(";", 1)[1]
        return ua.NodeId.from_string(f"ns={self.index};{text}")

    def variant(self, name, value):
        def convert(item):
            return EPOCH.replace(tzinfo=None) + datetime.timedelta(microseconds=item) if base == "DATETIME" else item

        if name == "PRESS":
            made = [self.structure(it) for it in value] if isinstance(value, list) else self.structure(value)
            return ua.Variant(made, ua.VariantType.ExtensionObject)
        base, _, length = name.partition("[")
        if length and base not in ("STRING", "WSTRING"):
            return ua.Variant([convert(item) for item in value], TYPES[base])
        return ua.Variant(convert(value), TYPES[base])

    async def write(self, node, variant, status=ua.StatusCodes.Good, source="now"):
        now = datetime.datetime.now(datetime.timezone.utc)
        source = now if source == "now" else source
        value = ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=source, ServerTimestamp=now)
        await self.server.write_attribute_value(node, value)

    async def command(self, line):
        word, _, rest = line.partition(" ")
        if word == "add":
            text, name, value = rest.split(" ", 2)
            if name == "PRESS" and not self.defined:
                await self.structures()
            node, variant = self.node(text), self.variant(name, json.loads(value))
            browse = ua.QualifiedName(text.split("=", 1)[1], self.index)
            kind = self.defined[name].nodeid if name in self.defined else None
            await self.server.nodes.objects.add_variable(node, browse, variant, datatype=kind)
            self.types[node] = name
            await self.write(node, variant)
        elif word == "set":
            text, value = rest.split(" ", 1)
            node = self.node(text)
            await self.write(node, self.variant(self.types[node], json.loads(value)))
        elif word == "put":
            text, us, value = rest.split(" ", 2)
            node = self.node(text)
            source = None if us == "-" else EPOCH + datetime.timedelta(microseconds=int(us))
            await self.write(node, self.variant(self.types[node], json.loads(value)), source=source)
        elif word == "forget":
            nothing = ua.DataValue(ua.Variant(None), ua.StatusCode(ua.StatusCodes.BadAttributeIdInvalid))
            definition = ua.AttributeIds.DataTypeDefinition
            await self.server.write_attribute_value(self.defined[rest].nodeid, nothing, definition)
        elif word == "load":
            self.loading = asyncio.create_task(self.load(int(rest) / 1000))
        elif word == "record":
            await self.server.historize_node_data_change(self.server.get_node(self.node(rest)), period=None)
        elif word == "alarm":
            await self.alarm(*rest.split(" ", 3))
        elif word == "message":
            generator = await self.server.get_event_generator(ua.ObjectIds.BaseEventType)
            await generator.trigger(message=rest)
        elif word == "sessions":
            return str(len(self.server.iserver._external_sessions))
        elif word == "created":
            return str(self.created)
        elif word == "keys":
            return str(self.keys)
        elif word == "logins":
            return str(self.users.logins)
        elif word == "limit":
            what, number = rest.split()
            if what == "sessions":
                self.sessions_max = int(number)
            else:
                self.server.iserver.max_subscriptions = int(number)
        elif word == "bad":
            await self.write(self.node(rest), ua.Variant(None), ua.StatusCodes.Bad)
        elif word == "time":
            stamp = self.server.read_attribute_value(self.node(rest)).SourceTimestamp
            if stamp.tzinfo is None:
                stamp = stamp.replace(tzinfo=datetime.timezone.utc)
            return str((stamp - EPOCH) // datetime.timedelta(microseconds=1))
        elif word == "fingerprint":
            return self.fingerprint
        elif word == "connections":
            return str(len(self.server.bserver.clients))
        elif word == "mute":
            for subscription in list(self.server.iserver.subscription_service.subscriptions.values()):
                await subscription.stop()
        else:
            raise ValueError(f"no command {word}")
        return ""


def say(text):
    print(text, flush=True)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    one = "Basic256Sha256_SignAndEncrypt"
    parser.add_argument("--secure", nargs="?", const=one, help="SecurityPolicyTypes, with commas between")
    parser.add_argument("--user-certificate", help="file in DER of a user who logs in with it")
    parser.add_argument("--clock", type=int, default=0, help="seconds that the clock is ahead, as keys show it")
    parser.add_argument("--history-page", type=int, default=10_000, help="most values of one answer")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--filler", type=int, default=1, help="namespaces registered before ours")
    parser.add_argument("--node", action="append", default=[], help="as `add`, before the server answers")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    ahead = datetime.timedelta(seconds=arguments.clock)

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.datetime.now(zone) + ahead

    connection.datetime = Clock
    peer = Peer(arguments)
    say(f"ready {await peer.start()}")
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        if line == "quit":
            say("ok")
            break
        try:
            say(f"ok {await peer.command(line)}".rstrip())
        except Exception as error:
            say(f"error {error!r}")
    await peer.server.stop()


asyncio.run(main())
