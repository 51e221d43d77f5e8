"""Values as S7 bytes, for tests of Forebay's decoder.

The setters of python-snap7 write them where there are any that take the value (3.x has more of
them than 2.0.2); the standard library does the rest, and what it wrote is read back by the getters
of python-snap7 where there are any. Nothing here knows Forebay's own encoder.
"""

import struct
from datetime import date, datetime, timedelta

from snap7.util import getters, setters

# Bytes of types with a fixed width.
WIDTHS = {
    "BYTE": 1, "SINT": 1, "USINT": 1, "CHAR": 1, "WORD": 2, "INT": 2, "UINT": 2, "DWORD": 4,
    "DINT": 4, "UDINT": 4, "TIME": 4, "LWORD": 8, "LINT": 8, "ULINT": 8, "REAL": 4, "LREAL": 8,
    "BCD": 2, "LBCD": 4, "S5TIME": 2, "DATE": 2, "TOD": 4, "DATE_AND_TIME": 8, "DTL": 12,
}
FORMATS = {
    "BYTE": ">B", "SINT": ">b", "USINT": ">B", "WORD": ">H", "INT": ">h", "UINT": ">H",
    "DWORD": ">I", "DINT": ">i", "UDINT": ">I", "TIME": ">i", "LWORD": ">Q", "LINT": ">q",
    "ULINT": ">Q", "REAL": ">f", "LREAL": ">d", "TOD": ">I",
}


def clock(ms: int) -> str:
    """Milliseconds as the setter of TIME wants them."""
    rest = abs(ms)
    days, rest = divmod(rest, 86_400_000)
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{'-' if ms < 0 else ''}{days}:{hours}:{minutes}:{rest // 1000}.{rest % 1000:03}"


def by_util(kind: str, size: int, value) -> bytes:
    """What python-snap7 writes; any exception means that it cannot."""
    buffer = bytearray(size)
    match kind:
        case "STRING":
            setters.set_string(buffer, 0, value, size - 2)
        case "WSTRING":
            setters.set_wstring(buffer, 0, value, size // 2 - 2)
        case "TIME":
            setters.set_time(buffer, 0, clock(value))
        case "TOD":
            setters.set_tod(buffer, 0, timedelta(milliseconds=value))
        case "DATE":
            setters.set_date(buffer, 0, date.fromisoformat(value))
        case "DATE_AND_TIME":
            setters.set_dt(buffer, 0, datetime.fromisoformat(value))
        case "DTL":
            setters.set_dtl(buffer, 0, datetime.fromisoformat(value))
        case "SINT" | "BYTE" | "USINT" | "CHAR" | "WORD" | "INT" | "UINT" | "DWORD" | "DINT" | "UDINT" \
            | "LWORD" | "LINT" | "ULINT" | "REAL" | "LREAL":
            getattr(setters, f"set_{kind.lower()}")(buffer, 0, value)
        case _:
            raise NotImplementedError(kind)
    if len(buffer) != size:
        raise ValueError(f"{len(buffer)} bytes instead of {size}")
    return bytes(buffer)


def digits(text: str) -> bytes:
    """Decimal digits, one in each half byte."""
    return bytes.fromhex(text)


def by_hand(kind: str, size: int, value) -> bytes:
    """The same after Siemens' description of the type."""
    match kind:
        case "CHAR":
            return value.encode("cp1252")
        case "STRING":
            text = value.encode("cp1252")
            return bytes([size - 2, len(text)]) + text.ljust(size - 2, b"\0")
        case "WSTRING":
            text = value.encode("utf-16-be")
            return struct.pack(">HH", size // 2 - 2, len(text) // 2) + text.ljust(size - 4, b"\0")
        case "BCD" | "LBCD":
            return digits(f"{value:0{size * 2}}")
        case "S5TIME":
            base = next(base for base in range(4) if value <= 9990 * 10**base)
            return digits(f"{base}{value // (10 * 10**base):03}")
        case "DATE":
            return struct.pack(">H", (date.fromisoformat(value) - date(1990, 1, 1)).days)
        case "DATE_AND_TIME":
            when = datetime.fromisoformat(value)
            weekday = when.isoweekday() % 7 + 1
            return digits(f"{when:%y%m%d%H%M%S}{when.microsecond // 1000:03}{weekday}")
        case "DTL":
            when = datetime.fromisoformat(value)
            fields = (when.year, when.month, when.day, when.isoweekday() % 7 + 1)
            clock_ns = (when.hour, when.minute, when.second, when.microsecond * 1000)
            return struct.pack(">HBBBBBBI", *fields, *clock_ns)
        case _:
            return struct.pack(FORMATS[kind], value)


def read_back(kind: str, data: bytes, value) -> None:
    """Reads with python-snap7 what was written by hand, where it can."""
    buffer = bytearray(data)
    match kind:
        case "LINT" | "ULINT":
            # 2.0.2 takes the bytes of these for something else.
            return
        case "WSTRING":
            found = getters.get_wstring(buffer, 0)
        case "S5TIME":
            found = getters.get_s5time(buffer, 0)
            value = str(timedelta(milliseconds=value))
        case "DATE":
            found, value = getters.get_date(buffer, 0), date.fromisoformat(value)
        case "TOD":
            found, value = getters.get_tod(buffer, 0), timedelta(milliseconds=value)
        case "DATE_AND_TIME":
            found, value = getters.get_date_time_object(buffer, 0), datetime.fromisoformat(value)
        case _:
            return
    if found != value:
        raise ValueError(f"{kind}: wrote {value!r}, python-snap7 reads {found!r}")


def element(kind: str, size: int, value) -> tuple[str, bytes]:
    """The bytes of a value, and who wrote them: `util` or `hand`."""
    try:
        return "util", by_util(kind, size, value)
    except Exception:
        data = by_hand(kind, size, value)
        if len(data) != size:
            raise ValueError(f"{kind} of {len(data)} bytes instead of {size}")
        read_back(kind, data, value)
        return "hand", data


def encode(kind: str, value) -> tuple[str, bytes]:
    """The bytes of `INT`, `INT[3]`, `STRING[8]` and the like."""
    name, _, length = kind.rstrip("]").partition("[")
    match name:
        case "STRING":
            return element(name, int(length) + 2, value)
        case "WSTRING":
            return element(name, int(length) * 2 + 4, value)
    values = value if length else [value]
    parts = [element(name, WIDTHS[name], one) for one in values]
    return parts[0][0], b"".join(data for _, data in parts)


def bits(buffer: bytearray, first: int, values: list[bool]) -> str:
    """Sets bits from number `first` on, among the others."""
    for number, value in enumerate(values, first):
        setters.set_bool(buffer, number // 8, number % 8, value)
    return "util"
