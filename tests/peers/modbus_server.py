"""A Modbus server on pymodbus, driven by the tests through stdin.

    modbus_server.py [--port 0] [--rtu] [--unit N]...      Modbus TCP, or RTU frames over TCP
    modbus_server.py --serial /dev/pts/N [--unit N]...     RTU on a serial line

Prints `ready PORT`, then answers each line with `ok` or `error ...`:

    unit N                                         the following commands are for this unit
    set hr|ir|co|di OFFSET VALUE...                registers (0..65535) or bits (0 or 1), offset from 0
    setf AREA OFFSET ORDER NUMBER                  a 32-bit float, ORDER one of ABCD CDAB BADC DCBA
    setv AREA OFFSET ORDER TYPE VALUE              TYPE of pymodbus: INT16 ... FLOAT64, STRING; BCD16, BCD32
    seta AREA OFFSET ORDER TYPE VALUE...           an array, one element after the other
    refuse hr|ir OFFSET COUNT                      these registers answer with exception 02
    allow                                          none of them does any more
    silence on|off                                 requests are read and not answered
    mute AREA OFFSET COUNT                         requests with any of these are not answered
    hangup AREA OFFSET COUNT                       requests with any of these close the connection
    off UNIT, on UNIT                              this unit does not answer, as if it had no power
    late MS                                        the next answer comes so much later, those after it in order
    requests                                       answers `ok N`: requests of all clients so far
    quit

Ends when stdin closes.
"""

import argparse
import asyncio
import logging
import sys
from functools import partial

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

REGISTERS = 16384
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
        self.muted = set()
        self.hanging_up = set()
        self.off = set()
        self.late_s = 0.0
        self.swallow = False
        # A device answers in order, also when it is late; pymodbus would not.
        self.turn = asyncio.Lock()

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
        async with self.turn:
            late_s, self.late_s = self.late_s, 0.0
            await asyncio.sleep(late_s)
        if written is None:
            wanted = {(unit, function, address + n) for n in range(count)}
            if wanted & self.hanging_up:
                for connection in list(self.server.active_connections.values()):
                    connection.close()
            if unit in self.off or wanted & (self.muted | self.hanging_up):
                self.swallow = True
            elif wanted & self.refused:
                return ExcCodes.ILLEGAL_ADDRESS
        return None

    def on_packet(self, sending, data):
        if sending:
            swallow, self.swallow = self.swallow, False
            return b"" if self.silent or swallow else data
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
        elif command == "seta":
            area, offset, order, kind, *values = words
            await self.store(area, offset, [word for value in values for word in registers(order, kind, value)])
        elif command in ("refuse", "mute", "hangup"):
            area, offset, count = words
            which = {"refuse": self.refused, "mute": self.muted, "hangup": self.hanging_up}[command]
            which |= {(self.unit, FUNCTION[area], int(offset) + n) for n in range(int(count))}
        elif command == "allow":
            self.refused.clear()
            self.muted.clear()
            self.hanging_up.clear()
        elif command == "off":
            self.off.add(int(words[0]))
        elif command == "on":
            self.off.discard(int(words[0]))
        elif command == "late":
            self.late_s = int(words[0]) / 1000
        elif command == "silence":
            self.silent = {"on": True, "off": False}[words[0]]
        elif command == "requests":
            return f"ok {self.requests}"
        else:
            raise ValueError(f"unknown command {command}")
        return "ok"


def registers(order, kind, text):
    """pymodbus makes the registers and their order; it knows no byte order within one."""
    if kind.startswith("BCD"):
        # Decimal digits are what hexadecimal digits say; pymodbus has no such type.
        kind, text = kind.replace("BCD", "UINT"), f"0x{text}"
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
    # It is on purpose that connections go away under an answer.
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rtu", action="store_true")
    parser.add_argument("--serial")
    parser.add_argument("--unit", type=int, action="append")
    arguments = parser.parse_args()
    commands = Commands(arguments.unit or [1])
    if arguments.serial:
        server = ModbusSerialServer(
            commands.devices(), port=arguments.serial, baudrate=115200, trace_packet=commands.on_packet
        )
    else:
        server = ModbusTcpServer(
            commands.devices(),
            framer=FramerType.RTU if arguments.rtu else FramerType.SOCKET,
            address=("127.0.0.1", arguments.port),
            trace_packet=commands.on_packet,
        )
    commands.server = server
    await server.serve_forever(background=True)
    port = 0 if arguments.serial else server.transport.sockets[0].getsockname()[1]
    print("ready", port, flush=True)

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
