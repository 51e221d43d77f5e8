"""An S7 client on python-snap7, for tests of Forebay's simulated CPU by a foreign implementation.

Runs on python-snap7 2.0.2 (C library) and 3.x (Python). Connects to `--port`, prints
`ready PORT`, takes one command a line and ends when its input closes.

    db NUMBER OFFSET SIZE           answers `ok HEX`
    memory OFFSET SIZE              the same for the bit memory
    inputs OFFSET SIZE              the same for the process image of the inputs
    timers NUMBER COUNT             the same for timers
    counters NUMBER COUNT           the same for counters
    several NUMBER SIZE OFFSET...   several places of one data block in one call: `ok HEX HEX...`
    write NUMBER OFFSET HEX         answers `ok refused` when the CPU refuses
    pdu                             answers the agreed PDU size
"""

import argparse
import ctypes
import logging
import sys

import snap7
from snap7.client import Client
from snap7.type import S7DataItem, WordLen

try:
    from snap7.type import Area
except ImportError:
    from snap7.type import Areas as Area


def several(client: Client, number: int, size: int, offsets: list[int]) -> list[bytes]:
    """The items as the C library wants them, which 3.x understands too."""
    items = (S7DataItem * len(offsets))()
    buffers = []
    for item, offset in zip(items, offsets):
        buffer = (ctypes.c_uint8 * size)()
        buffers.append(buffer)
        item.Area = ctypes.c_int32(Area.DB.value)
        item.WordLen = ctypes.c_int32(WordLen.Byte.value)
        item.Result = ctypes.c_int32(0)
        item.DBNumber = ctypes.c_int32(number)
        item.Start = ctypes.c_int32(offset)
        item.Amount = ctypes.c_int32(size)
        item.pData = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint8))
    _, items = client.read_multi_vars(items)
    for item in items:
        if item.Result:
            raise RuntimeError(f"item result {item.Result:#x}")
    return [bytes(buffer) for buffer in buffers]


def execute(client: Client, words: list[str]) -> str:
    match words:
        case ["db", number, offset, size]:
            return client.db_read(int(number), int(offset), int(size)).hex()
        case ["memory", offset, size]:
            return client.read_area(Area.MK, 0, int(offset), int(size)).hex()
        case ["inputs", offset, size]:
            return client.read_area(Area.PE, 0, int(offset), int(size)).hex()
        case ["timers", number, count]:
            return client.tm_read(int(number), int(count)).hex()
        case ["counters", number, count]:
            return client.ct_read(int(number), int(count)).hex()
        case ["several", number, size, *offsets]:
            found = several(client, int(number), int(size), [int(offset) for offset in offsets])
            return " ".join(data.hex() for data in found)
        case ["write", number, offset, data]:
            try:
                client.db_write(int(number), int(offset), bytearray.fromhex(data))
            except Exception:
                return "refused"
            return "written"
        case ["pdu"]:
            return str(client.get_pdu_length())
    raise ValueError("unknown command")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    # Standard output belongs to the tests.
    logging.disable(logging.CRITICAL)
    client = Client()
    client.connect("127.0.0.1", 0, 1, port)
    print(f"ready {port}", flush=True)
    for line in sys.stdin:
        try:
            print("ok", execute(client, line.split()), flush=True)
        except Exception as problem:
            print(f"error {problem!r}", flush=True)
    client.disconnect()


if __name__ == "__main__":
    main()
