"""A small plant as an OPC UA server on asyncua, for `forebay browse`.

Objects / Filler / { State (an enumeration), Tank / { Level, Temp }, Speeds (an array), Hidden (not readable),
Batch (a text), Back (leads back to Filler) } with units, ranges and texts as servers have them.

Prints `ready PORT`; ends with its input.
"""

import asyncio
import logging
import sys

from asyncua import Server, ua

URI = "urn:forebay:plant"
UNECE = "http://www.opcfoundation.org/UA/units/un/cefact"


async def unit(variable, code, name):
    number = int.from_bytes(code.encode(), "big")
    text = ua.LocalizedText(name)
    information = ua.EUInformation(NamespaceUri=UNECE, UnitId=number, DisplayName=text, Description=text)
    await variable.add_property(0, "EngineeringUnits", information)


async def plant(server, index):
    filler = await server.nodes.objects.add_object(index, "Filler")
    tank = await filler.add_object(index, "Tank")
    level = await tank.add_variable(ua.NodeId('"DB"."rLevel"', index), ua.QualifiedName("Level", index), 41.5, ua.VariantType.Float)
    await unit(level, "P1", "%")
    await level.add_property(0, "EURange", ua.Range(Low=0.0, High=100.0))
    temp = await tank.add_variable(ua.NodeId("it's", index), ua.QualifiedName("ProductTemp", index), 21.0, ua.VariantType.Double)
    await unit(temp, "CEL", "°C")
    gauge = await tank.add_variable(ua.NodeId("odd", index), ua.QualifiedName("OddUnit", index), 2.0, ua.VariantType.Double)
    await unit(gauge, "ZZZ", "furlong")
    state = await filler.add_variable(ua.NodeId(7001, index), ua.QualifiedName("State", index), 1, ua.VariantType.Int32)
    texts = [ua.LocalizedText(text) for text in ("Stopped", "Running", "He said \"no\"")]
    await state.add_property(0, "EnumStrings", texts)
    await filler.add_variable(ua.NodeId("speeds", index), ua.QualifiedName("Speeds", index), [1, 2, 3], ua.VariantType.Int16)
    await filler.add_variable(ua.NodeId("batch", index), ua.QualifiedName("Batch", index), "R-14", ua.VariantType.String)
    hidden = await filler.add_variable(ua.NodeId("hidden", index), ua.QualifiedName("Hidden", index), 1, ua.VariantType.Int32)
    for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
        await hidden.write_attribute(attribute, ua.DataValue(ua.Variant(0, ua.VariantType.Byte)))
    await tank.add_reference(filler, ua.ObjectIds.Organizes)
    many = await server.nodes.objects.add_object(index, "Many")
    for number in range(600):
        await many.add_variable(ua.NodeId(f"many{number}", index), ua.QualifiedName(f"V{number}", index), number, ua.VariantType.UInt32)


async def main():
    logging.disable(logging.CRITICAL)
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    await plant(server, index)
    await server.start()
    print(f"ready {server.bserver.port}", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        pass
    await server.stop()


asyncio.run(main())
