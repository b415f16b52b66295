// JSON with other white space and nothing else: a parser would round numbers and drop names that come twice.

// A bracket, comma or colon; a whole string, number or word.
const TOKEN = /([{}[\],:])|"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])|(?:true|false|null)(?!\w)/y;
// What the last token of something that was cut may be.
const HALF = /^(?:"(?:[^"\\\u0000-\u001f]|\\.)*\\?|-?[\d.eE+-]*|t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?)$/u;
const SPACE = /[ \t\n\r]*/y;
const CLOSING = { "{": "}", "[": "]" };
// Deeper levels are not moved further: what somebody sends that has thousands of them stays short.
const DEPTH_MAX = 32;

function at(pattern, text, place) {
  pattern.lastIndex = place;
  return pattern.exec(text)?.[0] ?? "";
}

const isValue = (token) => token !== "" && !"{}[],:".includes(token);
const isName = (token) => token.startsWith('"');

// Whether `token` may stand behind `before` within `open`, the brackets that are open, outermost first; in an object that awaits a name if `isNamed` is false.
function fits(token, before, open, isNamed) {
  const inside = open.at(-1);
  const isDone = isValue(before) || before === "}" || before === "]";
  if (token === ",") return isDone && inside !== undefined && (inside === "[" || isNamed);
  if (token === ":") return inside === "{" && !isNamed && isName(before);
  if (token === "}" || token === "]") return CLOSING[inside] === token && (before === inside || (isDone && (inside === "[" || isNamed)));
  if (isDone) return false;
  return inside !== "{" || isNamed || isName(token);
}

// The text of `data`, a level of brackets on lines of its own; undefined where it is no JSON, as far as it goes where it `isCut`.
export function indentedJson(data, isCut) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data, { stream: isCut });
  } catch {
    return undefined;
  }
  const open = [];
  let [out, before, isNamed] = ["", "", false];
  const line = () => `\n${"  ".repeat(Math.min(open.length, DEPTH_MAX))}`;
  for (let place = at(SPACE, text, 0).length; place < text.length; ) {
    const found = at(TOKEN, text, place);
    // A number at the very end may go on.
    const token = found || (isCut && HALF.test(text.slice(place)) ? text.slice(place) : "");
    if (token === "" || !fits(token, before, open, isNamed)) return undefined;
    const isClosing = token === "}" || token === "]";
    if (isClosing) open.pop();
    if (before === "," || (isClosing ? !"{[".includes(before) : before !== "" && "{[".includes(before))) out += line();
    out += token === ":" ? ": " : token;
    // Behind a whole value of an object its name is still known, until the comma.
    if (token === ":" || isClosing) isNamed = open.at(-1) === "{";
    else if (token === "," || token === "{") isNamed = false;
    if (token in CLOSING) open.push(token);
    before = token;
    place += token.length;
    place += at(SPACE, text, place).length;
  }
  return isCut || (open.length === 0 && before !== "") ? out : undefined;
}
