// The live page: a click becomes an action, the action a new feed, the feed a new order. Read this file first.

import { Problem, call, readToken } from "./api.js";
import { compareSoon, slide, why } from "./beside.js";
import { cardOf, learn } from "./cards.js";
import { Loop } from "./loop.js";
import { away, tell, watch, well } from "./presence.js";
import { backoffMs, flush } from "./queue.js";
import { onScreen, report } from "./report.js";
import { Row } from "./row.js";
import { at, now, question, save, session, sleep } from "./session.js";
import { Visitor, knows } from "./visitor.js";
import { count } from "./words.js";

const ASK_AGAIN_MS = 40;  // through Kafka an action may arrive just after the request that followed it
const COMPARE_AFTER_MS = 60;  // what stands beside the row waits for clicks that follow each other
const LOAD = Date.now().toString(36);  // of this page: no name of a request comes twice

let row, asked = 0, tries = 0, unknown = 0;
const loop = new Loop(follow);

function act(itemId, action, clickedAt) {
  const { visitor, start, clicks } = session;
  if (visitor.actions.length >= start.max_actions) {
    return tell("away", `${count(start.max_actions, "action")} are enough for one visitor: begin with a new one`);
  }
  clicks.push({ one: visitor.did(itemId, action, now()), at: clickedAt });
  save();
  loop.wake();
}

function become(visitor) {
  Object.assign(session, { visitor, clicks: [] });
  save();
  loop.wake();
}

// One round: all that waits is sent in one call, then one feed is asked for, and drawn.
async function follow() {
  const { visitor } = session;
  try {
    const began = performance.now();
    const refused = await flush(visitor, batch => call("/actions", batch));
    if (visitor !== session.visitor) return;
    const sent = performance.now(), { newest } = visitor;
    const shown = { askedMs: Math.max(now(), newest?.timestamp_ms ?? 0), requestId: `${LOAD}-${++asked}` };
    const feed = await call("/rank", question(shown.requestId, shown.askedMs), session.start.answer_timeout_ms);
    const answered = performance.now();
    await learn(feed.items.flatMap(one => [one.item_id, one.because_of ?? one.item_id]));
    if (visitor !== session.visitor) return;
    session.shown = { ...shown, items: feed.items, userId: visitor.userId };
    await draw(feed, newest, { began, sent, answered });
    answeredBy(feed, refused);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    await notYet(problem);
  }
}

// Draw a feed that was asked for when `newest` was the visitor's newest action.
async function draw(feed, newest, times) {
  const knew = knows(feed, session.shown.askedMs, newest);
  const click = session.clicks.find(({ one }) => one === newest) ?? null;
  row.show(feed.items, cardOf);
  await onScreen();
  report(feed, click, knew, { ...times, painted: performance.now() });
  if (knew) session.clicks = session.clicks.filter(({ one }) => newest && one.timestamp_ms > newest.timestamp_ms);
  else setTimeout(() => loop.wake(), ASK_AGAIN_MS * 2 ** Math.min(unknown, 5));
  unknown = knew ? 0 : unknown + 1;
  compareSoon(COMPARE_AFTER_MS);
}

function answeredBy(feed, refused) {
  tries = 0;
  save();
  if (refused.length) tell("away", `not taken: ${refused[0].message}`);
  else well(feed.model_version === session.start.model_version ? "" : `; the feed is of ${feed.model_version}`);
}

async function notYet(problem) {
  away(problem);
  save();
  if (!problem.isPassing) return;
  await sleep(backoffMs(tries++, problem.retryAfterS));
  loop.wake();
}

async function begin() {
  readToken(location, history);
  await meet();
  const { start } = session, through = start.through === "kafka" ? "through Kafka" : "in this process";
  const ranked = `${start.candidates} candidates ranked for ${start.row}`;
  at("facts").textContent = `model ${start.model_version}, ${through}; ${ranked}`;
  row = new Row(at("row"), start.actions, { act, why });
  at("new").addEventListener("click", () => become(Visitor.fresh()));
  at("undo").addEventListener("click", () => become(session.visitor.undone()));
  at("why-close").addEventListener("click", () => at("why").close());
  at("staleness").addEventListener("input", slide);
  await learn(session.visitor.actions.map(one => one.item_id)).catch(() => {});  // titles alone
  save();
  loop.wake();
  watch(() => loop.wake());
}

// Ask what the page has to know until somebody says it, and how far the clocks are apart.
async function meet() {
  for (let tried = 0; !session.start; tried++) {
    try {
      const before = Date.now(), start = await call("/page/start"), tookMs = Date.now() - before;
      const apart = start.now_ms - (before + tookMs / 2);
      Object.assign(session, { start, offsetMs: Math.abs(apart) > tookMs + 1 ? apart : 0 });  // else it is one clock
    } catch (problem) {
      tell("away", problem.message);
      if (!problem.isPassing) throw problem;
      await sleep(backoffMs(tried));
    }
  }
}

begin();
