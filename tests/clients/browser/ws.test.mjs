// mqtt.js in pages that came over HTTP, and a listener for WebSocket.
import { suite } from "./cases.mjs";

suite("ws");
