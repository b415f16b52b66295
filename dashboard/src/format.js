// Numbers, times and payloads as people read them.
import { indentedJson } from "./json.js";

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => (value === undefined || value === null ? "–" : whole.format(value));
export const compact = (value) => (Math.abs(value) < 10_000 ? whole.format(Math.round(value * 10) / 10) : short.format(value));

export function bytes(value) {
  if (value === undefined || value === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

// A time span, in its two largest units.
export function span(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1000);
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(" ");
}

export const seconds = (value) => (value === 4294967295 ? "never" : value === 0 ? "at once" : span(value * 1000));
export const moment = (ms) => new Date(ms).toLocaleString("en-GB");
export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

// Control characters and those that reorder or hide text become visible: a client chose them.
const hidden =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;
const numbered = (character) => `\\u{${character.codePointAt(0).toString(16)}}`;
export const visible = (text) => String(text).replace(hidden, numbered);
// The same of a name, whose spaces at its ends count.
export const visibleName = (text) => visible(text).replace(/^\s+|\s+$/g, (spaces) => [...spaces].map(numbered).join(""));

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export function payloadBytes(message) {
  if (message.payload !== undefined) return new TextEncoder().encode(message.payload);
  return fromBase64(message.payload_base64 ?? "");
}

export function hex(data) {
  const lines = [];
  for (let at = 0; at < data.length; at += 16) {
    const row = [...data.slice(at, at + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${digits.padEnd(47)}  ${text}`);
  }
  return lines.join("\n");
}

export const PAYLOAD_FORMS = [
  ["text", "Text"],
  ["json", "JSON"],
  ["hex", "Hex"],
];

// A payload in one of the forms; what does not fit its form is shown as what it is.
export function payloadAs(form, message) {
  const data = payloadBytes(message);
  const isCut = data.length < message.payload_bytes;
  const rest = isCut ? `\n… ${bytes(message.payload_bytes)} in all` : "";
  if (form === "hex") return hex(data) + rest;
  // Half a character at the end of what is cut is left out.
  const text = new TextDecoder().decode(data, { stream: isCut });
  if (form === "text") return visibleText(text) + rest;
  const json = indentedJson(data, isCut);
  if (json === undefined) return `(not JSON) ${visibleText(text)}${rest}`;
  return `${isCut ? "(begin of it) " : ""}${visibleText(json)}${rest}`;
}

// Whether it is a whole address or network, and not the begin of one.
export function isNetwork(text) {
  const [address, bits, ...more] = text.split("/");
  if (more.length > 0 || (bits !== undefined && !/^\d{1,3}$/.test(bits))) return false;
  if (!address.includes(":")) return /^\d{1,3}(\.\d{1,3}){3}$/.test(address) && address.split(".").every((part) => Number(part) < 256);
  try {
    return new URL(`http://[${address}]/`).hostname !== "";
  } catch {
    return false;
  }
}

// As visible(), with the ends of lines kept.
const visibleText = (text) => text.split("\n").map((line) => visible(line.replace(/\t/g, "    "))).join("\n");
