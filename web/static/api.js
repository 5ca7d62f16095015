// Calls on the server of this page. What goes wrong is a Problem with a sentence.

import { parse } from "./json.js";

const TOKEN_WANTED = "this server wants a token: open the page with #token=... behind its address";
const GRACE_MS = 1500;  // beyond the server's own limit
let token = null;

export class Problem extends Error {
  constructor(status, reason, message, retryAfterS = 0) {
    super(message);
    Object.assign(this, { status, reason, retryAfterS });
  }

  // Did nobody answer, or too much at once? Then the same call is right a little later.
  get isPassing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

// A token stands behind # in the address, which no server sees and no log holds.
export function readToken(location, history) {
  const found = /(?:^#|&)token=([^&]+)/.exec(location.hash);
  if (!found) return;
  token = decodeURIComponent(found[1]);
  history.replaceState(null, "", location.pathname);
}

export async function call(path, body, timeoutMs = 5000) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = { headers, signal: AbortSignal.timeout(timeoutMs + GRACE_MS), cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  let answer, document;
  try {
    answer = await fetch(path, options);
    document = parse(await answer.text());
  } catch (cause) {
    throw new Problem(0, "away", "the server of this page does not answer");
  }
  if (answer.ok || Array.isArray(document?.rejected)) return document;
  const { reason, message } = document?.error ?? { reason: "http", message: `the server answered ${answer.status}` };
  if (answer.status === 401) throw new Problem(401, reason, TOKEN_WANTED);
  throw new Problem(answer.status, reason, message, Number(answer.headers.get("Retry-After") ?? 0));
}
