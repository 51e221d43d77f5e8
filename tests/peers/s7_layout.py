"""Data blocks filled by python-snap7's own `util.DB`, from a layout as TIA Portal shows it.

Prints `ready 0`, takes one command a line, answers `ok HEX` or `error REASON`, and ends when its
input closes.

    press        the block of tests/import/tia-db-press, with the offsets of TIA's column Offset
    types        some members of the block of tests/import/tia-db-types
"""

import sys
from datetime import datetime

from snap7.util.db import DB

PRESS = """
0       LayoutVersion       UINT
2.0     Running             BOOL
2.1     Fault               BOOL
2.2     GuardOpen           BOOL
2.3     MaintMode           BOOL
4       State               INT
6       FaultWord           WORD
8       StrokeCount         UDINT
12      PartCount           UDINT
20      SlideForce          REAL
24      SlideForceSet       REAL
28      SlidePos            REAL
32      HydPressure         REAL
36      OilTemp             REAL
40      VibDE               REAL
44      VibNDE              REAL
48      MotorCurrent        REAL
52      Recipe              STRING[16]
70      FaultSince          DTL
82      Station1.DieTemp    REAL
86      Station1.Cushion    REAL
90      Station1.Parts      UDINT
94      Station1.Code       INT
96      Station2.DieTemp    REAL
110     Station3.DieTemp    REAL
124     Station4.DieTemp    REAL
128     Station4.Cushion    REAL
132     Station4.Parts      UDINT
136     Station4.Code       INT
"""
PRESS_VALUES = {
    "LayoutVersion": 3,
    "Running": True,
    "Fault": False,
    "GuardOpen": True,
    "MaintMode": False,
    "State": -6,
    "FaultWord": 0x0102,
    "StrokeCount": 4_000_000_001,
    "PartCount": 17,
    "SlideForce": 6300.5,
    "SlideForceSet": 6200.25,
    "SlidePos": -1.5,
    "HydPressure": 212.75,
    "OilTemp": 48.5,
    "VibDE": 1.25,
    "VibNDE": 2.5,
    "MotorCurrent": 410.0,
    "Recipe": "Rezept 7b",
    "FaultSince": datetime(2026, 7, 1, 12, 0, 0),
    "Station1.DieTemp": 101.0,
    "Station1.Cushion": 11.0,
    "Station1.Parts": 1001,
    "Station1.Code": -1,
    "Station2.DieTemp": 102.0,
    "Station3.DieTemp": 103.0,
    "Station4.DieTemp": 104.0,
    "Station4.Cushion": 14.0,
    "Station4.Parts": 1004,
    "Station4.Code": -4,
}
PRESS_BYTES = 138

TYPES = """
0.0     Flag1       BOOL
1       B1          BYTE
2.0     Flag2       BOOL
2.1     Flag3       BOOL
4       W1          WORD
6       Odd         STRING[5]
16      Speed       REAL
20      Lo          REAL
24      Hi          REAL
28.0    On          BOOL
30      Speed0      REAL
66      Hi2         REAL
"""
TYPES_VALUES = {
    "Flag1": True,
    "B1": 0xA5,
    "Flag2": False,
    "Flag3": True,
    "W1": 0xBEEF,
    "Odd": "abcde",
    "Speed": 1450.0,
    "Lo": 0.5,
    "Hi": 1500.5,
    "On": True,
    "Speed0": 10.0,
    "Hi2": 32.5,
}
TYPES_BYTES = 400


def filled(layout: str, values: dict, size: int) -> bytes:
    block = bytearray(size)
    row = DB(10, block, layout, size, 1, layout_offset=0, db_offset=0)["0"]
    for name, value in values.items():
        row[name] = value
    return bytes(block)


def main() -> None:
    print("ready 0", flush=True)
    for line in sys.stdin:
        try:
            if line.strip() == "press":
                block = bytearray(filled(PRESS, PRESS_VALUES, PRESS_BYTES))
                # Its own way to write a TIME takes a text; 1.2 s by hand.
                block[16:20] = (1200).to_bytes(4, "big", signed=True)
                print("ok", bytes(block).hex(), flush=True)
            elif line.strip() == "types":
                print("ok", filled(TYPES, TYPES_VALUES, TYPES_BYTES).hex(), flush=True)
            else:
                print("error no such command", flush=True)
        except Exception as error:  # whatever it is, the test shall see it
            print(f"error {error!r}", flush=True)


if __name__ == "__main__":
    main()
