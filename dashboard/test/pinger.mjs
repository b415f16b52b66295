// A client of MQTT that sends PINGREQ every few milliseconds, in a thread of its own: what it waits for PINGRESP is not what a page keeps this process busy with.
import { connect } from "node:net";
import { parentPort, workerData } from "node:worker_threads";

const EVERY_MS = 10;
const CONNECT = Buffer.from([0x10, 16, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 0, 0, 4, 0x70, 0x69, 0x6e, 0x67]);
const PINGREQ = Buffer.from([0xc0, 0]);

const socket = connect({ host: "127.0.0.1", port: workerData.port, noDelay: true }, () => socket.write(CONNECT));
let waits = [];
let sentAt;
let isOver = false;

function ping() {
  sentAt = process.hrtime.bigint();
  socket.write(PINGREQ);
}

socket.on("data", () => {
  if (sentAt !== undefined) waits.push(Number(process.hrtime.bigint() - sentAt) / 1e6);
  if (!isOver) setTimeout(ping, EVERY_MS);
});
socket.on("error", (error) => {
  throw error;
});
// Asked for what was waited since it was asked before; "end" ends it.
parentPort.on("message", (what) => {
  isOver = what === "end";
  parentPort.postMessage(waits);
  waits = [];
  if (isOver) {
    socket.destroy();
    parentPort.close();
  }
});
