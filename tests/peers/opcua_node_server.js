// An OPC UA server on node-opcua for the tests.
//
// Prints `ready PORT`, then takes one command a line and answers `ok …` or `error …`:
//
//   add NODE TYPE JSON     creates a variable; TYPE is a name of node-opcua's DataType, or PRESS or CHOICE
//                          of opcua_structures.xml; with [] an array
//   set NODE JSON          writes a value, with the source time of now
//   put NODE US JSON       writes a value with this source time, microseconds since 1970
//   record NODE            keeps the history of a node from now on
//   alarm NODE             makes a condition that is on while this Boolean is true
//   fingerprint            of the server's certificate
//   sessions               sessions that the server holds
//   quit
//
// NODE is `s=…` in the namespace urn:forebay:test. 64-bit numbers are texts. The user is
// forebay, with the password s3cret; guests are let in as well.

"use strict";
const crypto = require("crypto");
const fs = require("fs");
const os = require("os");
const path = require("path");
const readline = require("readline");
// What the library says goes to stderr; stdout is ours.
const say = console.log;
for (const level of ["log", "info", "warn", "debug"]) console[level] = console.error;
const opcua = require("node-opcua");

const URI = "urn:forebay:test";
const POLICIES = ["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"];
const nodes = new Map();
const conditions = new Map();
let server, space, namespace;

// node-opcua's 64-bit numbers are pairs of 32 bits, the high one first.
function wide(text) {
  const bits = BigInt.asUintN(64, BigInt(text));
  return [Number(bits >> 32n), Number(bits & 0xffffffffn)];
}

function variant(type, json) {
  const name = type.replace("[]", "");
  const structure = namespace.findDataType(name);
  const one = (value) => {
    if (structure) return space.constructExtensionObject(structure, value);
    if (name === "Int64" || name === "UInt64") return wide(value);
    if (name === "DateTime") return new Date(value);
    return value;
  };
  const isArray = type.endsWith("[]");
  return new opcua.Variant({
    dataType: structure ? opcua.DataType.ExtensionObject : opcua.DataType[name],
    arrayType: isArray ? opcua.VariantArrayType.Array : opcua.VariantArrayType.Scalar,
    value: isArray ? json.map(one) : one(json),
  });
}

function add(id, type, json) {
  const node = namespace.addVariable({
    organizedBy: space.rootFolder.objects,
    nodeId: id,
    browseName: id.slice(2),
    dataType: namespace.findDataType(type.replace("[]", "")) || type.replace("[]", ""),
    valueRank: type.endsWith("[]") ? 1 : -1,
  });
  nodes.set(id, { node, type });
  node.setValueFromSource(variant(type, json), opcua.StatusCodes.Good, new Date());
}

function alarm(id) {
  const { node } = nodes.get(id);
  const objects = space.rootFolder.objects;
  const source = namespace.addObject({
    organizedBy: objects,
    browseName: "Filler",
    eventSourceOf: objects.server,
  });
  const condition = namespace.instantiateOffNormalAlarm({
    browseName: "Oil",
    conditionName: "Oil",
    conditionSource: source,
    inputNode: node,
    normalState: null,
  });
  condition.setEnabledState(true);
  conditions.set(id, condition);
}

async function command(line) {
  const [word, id, ...rest] = line.split(" ");
  if (word === "add") add(id, rest[0], JSON.parse(rest.slice(1).join(" ")));
  else if (word === "set") {
    const { node, type } = nodes.get(id);
    node.setValueFromSource(variant(type, JSON.parse(rest.join(" "))), opcua.StatusCodes.Good, new Date());
    const condition = conditions.get(id);
    if (condition) switchAlarm(condition, JSON.parse(rest.join(" ")));
  } else if (word === "put") {
    const { node, type } = nodes.get(id);
    const time = new Date(Number(rest[0]) / 1000);
    node.setValueFromSource(variant(type, JSON.parse(rest.slice(1).join(" "))), opcua.StatusCodes.Good, time);
  } else if (word === "record") {
    space.installHistoricalDataNode(nodes.get(id).node, { maxOnlineValues: 10000 });
  } else if (word === "alarm") alarm(id);
  else if (word === "fingerprint") {
    const chain = server.getCertificate();
    return "sha256:" + crypto.createHash("sha256").update(chain).digest("hex");
  } else if (word === "sessions") return String(server.engine.currentSessionCount);
  else throw new Error(`no command ${word}`);
  return "";
}

function switchAlarm(condition, isOn) {
  const severity = isOn ? 700 : 100;
  isOn ? condition.activateAlarm() : condition.deactivateAlarm();
  condition.raiseNewCondition({
    message: isOn ? "Oil too hot" : "Oil is well",
    severity,
    quality: opcua.StatusCodes.Good,
    retain: isOn,
  });
}

async function main() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "forebay-node-opcua-"));
  process.on("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
  const manager = new opcua.OPCUACertificateManager({
    automaticallyAcceptUnknownCertificate: true,
    rootFolder: path.join(folder, "pki"),
  });
  server = new opcua.OPCUAServer({
    host: "127.0.0.1",
    port: Number(process.argv[2] || 0),
    hostname: "localhost",
    serverCertificateManager: manager,
    userCertificateManager: manager,
    securityPolicies: POLICIES.map((name) => opcua.SecurityPolicy[name]),
    securityModes: [1, 2, 3],
    allowAnonymous: true,
    userManager: { isValidUser: (user, password) => user === "forebay" && password === "s3cret" },
    isAuditing: false,
    serverCapabilities: { maxSessions: 3 },
    nodeset_filename: [opcua.nodesets.standard, path.join(__dirname, "opcua_structures.xml")],
  });
  await server.initialize();
  space = server.engine.addressSpace;
  namespace = space.getNamespace(URI);
  await server.start();
  const endpoint = server.endpoints[0];
  const port = endpoint.listeningPort || endpoint.port;
  say(`ready ${port}`);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === "quit") break;
    try {
      say(`ok ${await command(line)}`.trim());
    } catch (error) {
      say(`error ${String(error.stack).replace(/\s+/g, " ")}`);
    }
  }
  await server.shutdown(0);
  process.exit(0);
}

main();
