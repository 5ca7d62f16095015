// Beside the row: the feeds of a visitor whose newest actions did not come through, and the reasons of an item.

import { Problem, call } from "./api.js";
import { cardOf, learn, titleOf } from "./cards.js";
import { showList } from "./lists.js";
import { Loop } from "./loop.js";
import { sameOrder } from "./order.js";
import { backoffMs } from "./queue.js";
import { at, now, question, session } from "./session.js";
import { line, showWait, showWhy } from "./why.js";
import { STALENESS_S, age } from "./words.js";

const WHY_MS = 30_000;
let timer = 0;

const staleMs = () => 1000 * STALENESS_S[Number(at("staleness").value)];
const loop = new Loop(compare);
export const compareSoon = ms => setTimeout(() => loop.wake(), ms);

async function compare() {
  const { shown, visitor } = session, older = staleMs();
  if (shown?.userId !== visitor.userId) return;  // the feed of this visitor is on its way, and wakes this again
  try {
    const body = question(shown.requestId, now(), { actions: visitor.actions, older_than_ms: older });
    const answer = await call("/page/compare", body);
    await learn([...answer.frozen.items, ...answer.stale.items].map(one => one.item_id));
    if (visitor === session.visitor) show(answer, visitor, older);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    at("stale-count").textContent = `not known, ${problem.message}`;
    if (problem.isPassing) compareSoon(backoffMs(2, problem.retryAfterS));
  }
}

function show({ frozen, stale, stale_actions: counted }, visitor, older) {
  const row = session.shown.items.map(one => one.item_id);
  const acted = new Set(visitor.actions.map(one => String(one.item_id)));
  showList(at("frozen"), frozen.items, cardOf, row, acted);
  showList(at("stale"), stale.items, cardOf, row, acted);
  const same = sameOrder(stale.items.map(one => one.item_id), row) ? ", the order that is shown" : "";
  at("stale-count").textContent = `${counted} of ${visitor.actions.length} count${same}`;
  clearTimeout(timer);
  const next = visitor.nextChangeMs(now(), older);
  if (next !== null) timer = compareSoon(next + 5);
}

export function slide() {
  at("staleness-text").textContent = age(staleMs());
  at("staleness").setAttribute("aria-valuetext", age(staleMs()));
  loop.wake();
}

export async function why(itemId) {
  const dialog = at("why"), head = at("why-head"), body = at("why-body");
  const { shown: { requestId, askedMs }, visitor } = session;
  showWait(dialog, head, body, titleOf(itemId));
  try {
    const actions = visitor.actions.filter(one => one.timestamp_ms <= askedMs);  // that this feed can have known
    const reasons = await call("/page/why", question(requestId, askedMs, { actions, item_id: itemId }), WHY_MS);
    await learn(reasons.causes.map(one => one.item_id).filter(one => one !== null));
    showWhy(dialog, head, body, reasons, titleOf);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    body.replaceChildren(line(problem.message));
  }
}
