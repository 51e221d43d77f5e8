"""A Modbus TCP server on pymodbus, driven by the tests through stdin.

    modbus_server.py [--port 0] [--unit N]...

Prints `ready PORT`, then answers each line with `ok` or `error ...`:

    unit N                                         the following commands are for this unit
    set hr|ir|co|di OFFSET VALUE...                registers (0..65535) or bits (0 or 1), offset from 0
    setf AREA OFFSET ORDER NUMBER                  a 32-bit float, ORDER one of ABCD CDAB BADC DCBA
    setv AREA OFFSET ORDER TYPE VALUE              TYPE of pymodbus: INT16 ... FLOAT64, STRING
    refuse hr|ir OFFSET COUNT                      these registers answer with exception 02
    allow                                          none of them does any more
    silence on|off                                 requests are read and not answered
    requests                                       answers `ok N`: requests of all clients so far
    quit

Ends when stdin closes.
"""

import argparse
import asyncio
import sys
from functools import partial

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

REGISTERS = 4096
BITS = 4096
FUNCTION = {"co": 1, "di": 2, "hr": 3, "ir": 4}
WORDS_SWAPPED = ("CDAB", "DCBA")
BYTES_SWAPPED = ("BADC", "DCBA")


class Commands:
    """What the tests ask for."""

    def __init__(self, units):
        self.unit = units[0]
        self.units = units
        self.server = None
        self.silent = False
        self.requests = 0
        self.refused = set()

    def devices(self):
        return [
            SimDevice(
                id=unit,
                simdata=(
                    [SimData(0, values=[False] * BITS, datatype=DataType.BITS)],
                    [SimData(0, values=[False] * BITS, datatype=DataType.BITS)],
                    [SimData(0, count=REGISTERS, values=0, datatype=DataType.REGISTERS)],
                    [SimData(0, count=REGISTERS, values=0, datatype=DataType.REGISTERS)],
                ),
                action=partial(self.on_access, unit),
            )
            for unit in self.units
        ]

    async def on_access(self, unit, function, _start, address, count, _registers, written):
        if written is None:
            wanted = {(unit, function, address + n) for n in range(count)}
            if wanted & self.refused:
                return ExcCodes.ILLEGAL_ADDRESS
        return None

    def on_packet(self, sending, data):
        if sending:
            return b"" if self.silent else data
        self.requests += 1
        return data

    async def store(self, area, offset, values):
        await self.server.async_setValues(self.unit, FUNCTION[area], int(offset), values)

    async def run(self, line):
        command, *words = line.split()
        if command == "unit":
            if int(words[0]) not in self.units:
                raise ValueError(f"no unit {words[0]}")
            self.unit = int(words[0])
        elif command == "set":
            area, offset, *values = words
            numbers = [int(value, 0) for value in values]
            await self.store(area, offset, numbers if area in ("hr", "ir") else [n != 0 for n in numbers])
        elif command == "setf":
            area, offset, order, number = words
            await self.store(area, offset, registers(order, "FLOAT32", number))
        elif command == "setv":
            area, offset, order, kind, value = line.split(maxsplit=5)[1:]
            await self.store(area, offset, registers(order, kind, value))
        elif command == "refuse":
            area, offset, count = words
            self.refused |= {(self.unit, FUNCTION[area], int(offset) + n) for n in range(int(count))}
        elif command == "allow":
            self.refused.clear()
        elif command == "silence":
            self.silent = {"on": True, "off": False}[words[0]]
        elif command == "requests":
            return f"ok {self.requests}"
        else:
            raise ValueError(f"unknown command {command}")
        return "ok"


def registers(order, kind, text):
    """pymodbus makes the registers and their order; it knows no byte order within one."""
    data_type = ModbusClientMixin.DATATYPE[kind]
    if data_type is ModbusClientMixin.DATATYPE.STRING:
        value, word_order = text, "big"
    else:
        value = float(text) if kind.startswith("FLOAT") else int(text, 0)
        word_order = "little" if order in WORDS_SWAPPED else "big"
    words = ModbusClientMixin.convert_to_registers(value, data_type, word_order=word_order)
    if order in BYTES_SWAPPED:
        words = [(word & 0xFF) << 8 | word >> 8 for word in words]
    return words


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--unit", type=int, action="append")
    arguments = parser.parse_args()
    commands = Commands(arguments.unit or [1])
    server = ModbusTcpServer(
        commands.devices(), address=("127.0.0.1", arguments.port), trace_packet=commands.on_packet
    )
    commands.server = server
    await server.serve_forever(background=True)
    print("ready", server.transport.sockets[0].getsockname()[1], flush=True)

    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.strip() == "quit":
            print("ok", flush=True)
            break
        try:
            answer = await commands.run(line.rstrip("\n"))
        except Exception as error:  # whatever is wrong with a command, the test should read it
            answer = f"error {type(error).__name__}: {error}"
        print(answer, flush=True)
    await server.shutdown()


asyncio.run(main())
