"""An S7 server on python-snap7, for tests of Forebay against a foreign implementation.

Runs on python-snap7 2.0.2, which wraps the C library Snap7, and on 3.x, which is written in
Python. Prints `ready PORT` when it answers, takes one command a line, answers `ok` or
`error REASON`, and ends when its input closes.

    db NUMBER SIZE        registers a data block, all bytes 0
    set DB OFFSET HEX     writes bytes into a data block
    setm OFFSET HEX       writes bytes into the bit memory
    seti OFFSET HEX       writes bytes into the process image of the inputs
    put AREA NUMBER OFFSET[.BIT] TYPE JSON
                          writes a value of this type; area DB, MK, PE, PA, TM or CT; timers and
                          counters by number; answers `ok util` or `ok hand`: who knew the bytes
    raw AREA NUMBER OFFSET HEX
                          writes bytes into any area, in the same way
    state run|stop        operating state that the CPU tells
    quit
"""

import argparse
import ctypes
import json
import logging
import socket
import sys
import time

import s7_values
from snap7.server import Server
from snap7.type import SrvArea

# Bytes of the bit memory and of the process images.
AREA_BYTES = 8192

# Bytes of a timer or counter.
ELEMENT_BYTES = 2

# Areas that are counted by number.
ELEMENTS = (SrvArea.TM, SrvArea.CT)


def free_port() -> int:
    """A port that is free now: neither server can choose one by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(port: int) -> tuple[Server, int]:
    """Starts a server. Somebody else may have the port: then another free one is tried, or the
    same again until it is free."""
    for attempt in range(50):
        server = Server(log=False)
        chosen = port or free_port()
        try:
            server.start(tcp_port=chosen)
            return server, chosen
        except Exception:
            if attempt == 49:
                raise
            time.sleep(0.1)
    raise RuntimeError("unreachable")


class Memory:
    """The areas of the server. What is registered must stay alive and be written in place."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.areas = {}
        for area in (SrvArea.PE, SrvArea.PA, SrvArea.MK, SrvArea.TM, SrvArea.CT):
            self.register(area, 0, AREA_BYTES)

    def register(self, area: SrvArea, number: int, size: int) -> None:
        buffer = (ctypes.c_uint8 * size)()
        self.server.register_area(area, number, buffer)
        # 3.x copies the bytes it is given; its own copy is the one to write.
        copies = getattr(self.server, "memory_areas", {})
        for (kind, index), copy in copies.items():
            if kind.name == area.name and index == number:
                buffer = copy
        self.areas[area, number] = buffer

    def element(self, number: int) -> int:
        """Where this server looks for a timer or counter. The C library answers the one asked for
        with the two bytes at half its number, also to its own client (2.0.2): only multiples of
        four are whole there."""
        in_python = hasattr(self.server, "memory_areas")
        return number * ELEMENT_BYTES if in_python else number // 2

    def write(self, area: SrvArea, number: int, offset: int, data: bytes) -> None:
        buffer = self.areas[area, number]
        if offset + len(data) > len(buffer):
            raise ValueError(f"{area.name} {number} has only {len(buffer)} bytes")
        # Locked, so that no answer carries half a value.
        self.server.lock_area(area, number)
        try:
            buffer[offset : offset + len(data)] = data
        finally:
            self.server.unlock_area(area, number)


def put(memory: Memory, name: str, number: str, place: str, kind: str, value) -> str:
    area, number = SrvArea[name], int(number)
    at, _, bit = place.partition(".")
    offset = memory.element(int(at)) if area in ELEMENTS else int(at)
    if kind.startswith("BOOL"):
        values = value if isinstance(value, list) else [value]
        first = int(bit or 0)
        size = (first + len(values) + 7) // 8
        data = bytearray(memory.areas[area, number][offset : offset + size])
        author = s7_values.bits(data, first, values)
    else:
        author, data = s7_values.encode(kind, value)
    memory.write(area, number, offset, bytes(data))
    return author


def execute(memory: Memory, words: list[str]) -> str | None:
    match words:
        case ["put", area, number, place, kind, *value]:
            return put(memory, area, number, place, kind, json.loads(" ".join(value)))
        case ["raw", area, number, offset, data]:
            at = memory.element(int(offset)) if SrvArea[area] in ELEMENTS else int(offset)
            memory.write(SrvArea[area], int(number), at, bytes.fromhex(data))
        case ["state", state]:
            memory.server.set_cpu_status({"run": 8, "stop": 4}[state])
        case ["db", number, size]:
            memory.register(SrvArea.DB, int(number), int(size))
        case ["set", number, offset, data]:
            memory.write(SrvArea.DB, int(number), int(offset), bytes.fromhex(data))
        case ["setm", offset, data]:
            memory.write(SrvArea.MK, 0, int(offset), bytes.fromhex(data))
        case ["seti", offset, data]:
            memory.write(SrvArea.PE, 0, int(offset), bytes.fromhex(data))
        case _:
            raise ValueError("unknown command")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    # Standard output belongs to the tests.
    logging.disable(logging.CRITICAL)
    server, port = start(parser.parse_args().port)
    memory = Memory(server)
    print(f"ready {port}", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words == ["quit"]:
            print("ok", flush=True)
            break
        try:
            print("ok", execute(memory, words) or "", flush=True)
        except Exception as problem:
            print(f"error {problem!r}", flush=True)
    server.stop()


if __name__ == "__main__":
    main()
