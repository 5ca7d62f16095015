// What the parts of the page share: who visits, what was answered at the start, and which feed is shown.

import { titleOf } from "./cards.js";
import { Visitor } from "./visitor.js";
import { count } from "./words.js";

const SAVED = "rankstream-live";
const SHOWN_ACTIONS = 6;

export const at = id => document.getElementById(id);
export const sleep = ms => new Promise(done => setTimeout(done, ms));

export const session = {
  start: null,  // what the server said first
  visitor: restored(),
  clicks: [],  // that no feed has known yet: { one: the action, at: when, on the page's own clock }
  shown: null,  // the feed on the page: { items, askedMs, requestId, userId }
  offsetMs: 0,  // from this clock to the server's
};

export const now = () => Math.round(Date.now() + session.offsetMs);

// Who visits is kept while the tab is open.
function restored() {
  try {
    return Visitor.of(JSON.parse(sessionStorage.getItem(SAVED)));
  } catch {
    return Visitor.fresh();
  }
}

export function save() {
  const { visitor } = session;
  try {
    sessionStorage.setItem(SAVED, JSON.stringify(visitor));
  } catch { /* a browser that keeps nothing: a reload begins anew */ }
  const newest = visitor.actions.slice(-SHOWN_ACTIONS).reverse().map(one => `${one.action} on ${titleOf(one.item_id)}`);
  const before = visitor.actions.length - newest.length;
  const listed = `Newest first: ${newest.join(", ")}${before ? ` and ${before} before` : ""}`;
  at("did").textContent = newest.length ? listed : "Nothing done yet.";
  at("visitor").textContent = `${visitor.userId}, ${count(visitor.actions.length, "action")}`;
  at("undo").disabled = visitor.actions.length === 0;
}

// The body of a question about this visitor's feed.
export function question(requestId, timestampMs, more = {}) {
  const { start, visitor } = session;
  const feed = { request_id: requestId, timestamp_ms: timestampMs, limit: start.candidates, top_k: start.row };
  return { user_id: visitor.userId, ...feed, ...more };
}
