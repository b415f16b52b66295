// In the page: clients of mqtt.js by name, and what happens to them, kept until a test asks for it.
// Bytes are text with one character a byte, as between the scenarios and the drivers (../words.rs).
"use strict";

const WAIT_MS = 20_000;
const RealSocket = window.WebSocket;

const toBytes = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

function toText(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

// What came and was not asked for yet.
class Events {
  #unread = [];
  #waiting = [];

  add(event, fields = {}) {
    const waiter = this.#waiting.find(({ kind }) => kind === event);
    if (!waiter) return void this.#unread.push({ event, ...fields });
    this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
    waiter.done({ event, ...fields });
  }

  next(kind) {
    const at = this.#unread.findIndex(({ event }) => event === kind);
    if (at >= 0) return this.#unread.splice(at, 1)[0];
    return new Promise((done, fail) => {
      const waiter = { kind, done };
      this.#waiting.push(waiter);
      setTimeout(() => {
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        fail(new Error(`no ${kind} within ${WAIT_MS} ms; unread: ${JSON.stringify(this.#unread).slice(0, 500)}`));
      }, WAIT_MS);
    });
  }
}

// A WebSocket that tells of its beginning and its end, and that sends no more than `pieceBytes` in one message.
function watched(url, protocols, events, pieceBytes = Infinity) {
  const socket = new RealSocket(url, protocols);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => events.add("opened", { protocol: socket.protocol, extensions: socket.extensions }));
  socket.addEventListener("close", ({ code, wasClean }) => events.add("ended", { code, wasClean }));
  if (pieceBytes !== Infinity) {
    socket.send = (bytes) => {
      for (let at = 0; at < bytes.length; at += pieceBytes) {
        RealSocket.prototype.send.call(socket, bytes.subarray(at, at + pieceBytes));
      }
    };
  }
  return socket;
}

const clients = new Map();

window.commands = {
  // Answers with the CONNACK.
  connect(name, url, { pieceBytes, ...options }) {
    const events = new Events();
    const client = window.mqtt.connect(url, {
      clientId: name,
      reconnectPeriod: 0,
      createWebsocket: (address, protocols) => watched(address, protocols, events, pieceBytes),
      ...options,
    });
    client.on("connect", ({ reasonCode, returnCode, sessionPresent }) => events.add("connack", { reason: reasonCode ?? returnCode, sessionPresent }));
    client.on("message", (topic, payload, { qos, retain }) => events.add("message", { topic, payload: toText(payload), qos, retain }));
    client.on("disconnect", ({ reasonCode }) => events.add("disconnect", { reason: reasonCode }));
    client.on("error", (error) => events.add("error", { why: String(error) }));
    clients.set(name, { client, events });
    return events.next("connack");
  },

  async subscribe(name, filter, options) {
    return (await clients.get(name).client.subscribeAsync(filter, options)).map(({ qos }) => qos);
  },

  // Answers when the last packet of its QoS has come.
  async publish(name, topic, payload, options) {
    await clients.get(name).client.publishAsync(topic, toBytes(payload), options);
  },

  next: (name, kind) => clients.get(name).events.next(kind),

  end: (name) => clients.get(name).client.endAsync(),

  // A WebSocket without a client of MQTT.
  open(name, url, protocols) {
    const events = new Events();
    const client = watched(url, protocols, events);
    client.addEventListener("error", () => events.add("error"));
    clients.set(name, { client, events });
  },

  send: (name, what) => clients.get(name).client.send(what),

  close: (name, code, reason) => clients.get(name).client.close(code, reason),
};
