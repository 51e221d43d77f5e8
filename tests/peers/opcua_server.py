"""An OPC UA server on asyncua for the tests.

Prints `ready PORT`, then takes one command a line and answers `ok …` or `error …`:

  add NODE TYPE JSON   creates a variable; TYPE as in profiles (REAL, STRING, REAL[3] …)
  set NODE JSON        writes a value, with the source time of now
  bad NODE             writes the status Bad
  time NODE            source time of the value, in microseconds since 1970
  fingerprint          of the server's certificate
  connections          open TCP connections
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
from asyncua.crypto.permission_rules import User, UserRole

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
    """Lets one user in, and guests where there is no user."""

    def __init__(self, name, password):
        self.name, self.password = name, password

    def get_user(self, iserver, username=None, password=None, certificate=None):
        if isinstance(password, bytes):
            password = password.decode()
        if self.name is None or (username, password) == (self.name, self.password):
            return User(role=UserRole.User)
        return None


class Peer:
    def __init__(self, arguments):
        self.arguments = arguments
        self.types = {}
        self.fingerprint = ""

    async def start(self):
        arguments = self.arguments
        self.server = Server(user_manager=OneUser(arguments.user, arguments.password))
        await self.server.init()
        await self.server.set_application_uri(APPLICATION)
        # Port 0 stays in the advertised address: a client must not rely on it.
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{arguments.port}")
        policy = ua.SecurityPolicyType.NoSecurity
        if arguments.secure:
            policy = getattr(ua.SecurityPolicyType, arguments.secure)
            await self.certificate()
        self.server.set_security_policy([policy])
        self.server.set_identity_tokens(
            [ua.AnonymousIdentityToken if arguments.user is None else ua.UserNameIdentityToken]
        )
        for number in range(arguments.filler):
            await self.server.register_namespace(f"urn:forebay:filler:{number}")
        self.index = await self.server.register_namespace(URI)
        for node in arguments.node:
            await self.command(f"add {node}")
        await self.server.start()
        return self.server.bserver.port

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

        base, _, length = name.partition("[")
        if length and base not in ("STRING", "WSTRING"):
            return ua.Variant([convert(item) for item in value], TYPES[base])
        return ua.Variant(convert(value), TYPES[base])

    async def write(self, node, variant, status=ua.StatusCodes.Good):
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        value = ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=now, ServerTimestamp=now)
        await self.server.write_attribute_value(node, value)

    async def command(self, line):
        word, _, rest = line.partition(" ")
        if word == "add":
            text, name, value = rest.split(" ", 2)
            node, variant = self.node(text), self.variant(name, json.loads(value))
            browse = ua.QualifiedName(text.split("=", 1)[1], self.index)
            await self.server.nodes.objects.add_variable(node, browse, variant)
            self.types[node] = name
            await self.write(node, variant)
        elif word == "set":
            text, value = rest.split(" ", 1)
            node = self.node(text)
            await self.write(node, self.variant(self.types[node], json.loads(value)))
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
    parser.add_argument("--secure", nargs="?", const="Basic256Sha256_SignAndEncrypt", help="SecurityPolicyType")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--filler", type=int, default=1, help="namespaces registered before ours")
    parser.add_argument("--node", action="append", default=[], help="as `add`, before the server answers")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
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
