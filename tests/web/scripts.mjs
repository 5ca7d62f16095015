// The page's scripts that know no page, in node: `tests/web/test_scripts.py` copies them beside this file and runs it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Loop } from "./loop.js";
import { coverOf, hash } from "./covers.js";
import { parse } from "./json.js";
import { moves, rankIn, sameOrder } from "./order.js";
import { backoffMs, flush } from "./queue.js";
import { Visitor, knows } from "./visitor.js";
import * as words from "./words.js";

test("an order tells who stayed, came and left", () => {
  const { kept, entered, left } = moves([1, 2, 3], [3, "1", 4]);
  assert.deepEqual(kept, [{ id: "3", from: 2, to: 0 }, { id: "1", from: 0, to: 1 }]);
  assert.deepEqual([entered, left], [["4"], ["2"]]);
  assert.deepEqual([sameOrder([1, "2"], ["1", 2]), sameOrder([1], [1, 2])], [true, false]);
  assert.deepEqual([rankIn([5, 6], "6"), rankIn([5], 6)], [2, null]);
});

test("an id too long for a number stays what it is, also beside a title that looks like one", () => {
  const title = '"title":"\\"item_id\\":1234567890123456789,"';
  const text = `[{"item_id":12345678901234567890,"because_of":9007199254740993,${title}},{"item_id":7}]`;
  const [long, short] = parse(text);
  assert.deepEqual([long.item_id, long.because_of, short.item_id], ["12345678901234567890", "9007199254740993", 7]);
  assert.equal(long.title, '"item_id":1234567890123456789,');
});

test("a loop runs one round at a time, and once more for whoever woke it meanwhile", async () => {
  let running = 0, most = 0, rounds = 0;
  const loop = new Loop(async () => {
    rounds++;
    most = Math.max(most, ++running);
    await new Promise(done => setTimeout(done, 5));
    running--;
  });
  await Promise.all([loop.wake(), loop.wake(), loop.wake()]);
  assert.deepEqual([rounds, most], [2, 1]);
  await assert.rejects(new Loop(async () => { throw new Error("broken"); }).wake(), /broken/);
});

test("two actions of one visitor never have one time", () => {
  const visitor = new Visitor("v");
  visitor.did(1, "click", 1000.4);
  visitor.did(1, "click", 1000.2);
  visitor.did(1, "click", 900);
  assert.deepEqual(visitor.actions.map(one => one.timestamp_ms), [1000, 1001, 1002]);
});

test("undone is another visitor that did all but the last, and nothing of it is sent yet", () => {
  const visitor = new Visitor("v", [], []);
  visitor.did(1, "click", 1000);
  visitor.did(2, "save", 2000);
  visitor.unsent = [];
  const undone = visitor.undone();
  assert.deepEqual(undone.actions, [visitor.actions[0]]);
  assert.deepEqual(undone.unsent, undone.actions);
  assert.match(undone.userId, /^live-[0-9a-z]{12}$/);
});

test("a visitor that a tab kept has sent what it had sent", () => {
  const visitor = new Visitor("v", [], []);
  visitor.did(1, "click", 1000);
  visitor.unsent = [];
  visitor.did(2, "click", 2000);
  const again = Visitor.of(JSON.parse(JSON.stringify(visitor)));
  assert.deepEqual([again.userId, again.actions.length, again.unsent], ["v", 2, [visitor.actions[1]]]);
});

test("a feed knows an action by the age of its newest one", () => {
  const newest = { timestamp_ms: 1000 };
  assert.equal(knows({ newest_action_age_ms: 40 }, 1040, newest), true);
  assert.equal(knows({ newest_action_age_ms: 41 }, 1040, newest), false);
  assert.equal(knows({ newest_action_age_ms: null }, 1040, newest), false);
  assert.equal(knows({ newest_action_age_ms: null }, 1040, null), true);
});

test("the next action to grow old enough is the one that the page waits for", () => {
  const visitor = new Visitor("v", [{ timestamp_ms: 1000 }, { timestamp_ms: 5000 }], []);
  assert.equal(visitor.nextChangeMs(6000, 3000), 2000);
  assert.equal(visitor.nextChangeMs(9000, 3000), null);
});

test("what is not acknowledged stays, and is sent again as it was", async () => {
  const visitor = new Visitor("v", [], []);
  visitor.did(1, "click", 1000);
  const sent = [];
  const away = batch => { sent.push(batch); throw new Error("away"); };
  await assert.rejects(flush(visitor, away), /away/);
  visitor.did(2, "click", 2000);
  await flush(visitor, async batch => { sent.push(batch); return { accepted: batch.length, rejected: [] }; });
  assert.deepEqual(sent[1], [...sent[0], { user_id: "v", item_id: 2, action: "click", timestamp_ms: 2000 }]);
  assert.deepEqual(visitor.unsent, []);
});

test("a flood is a few calls, in order, and what is rejected was never done", async () => {
  const visitor = new Visitor("v", [], []);
  for (let at = 0; at < 250; at++) visitor.did(at, "click", at);
  const sizes = [];
  const refused = await flush(visitor, async batch => {
    sizes.push(batch.length);
    return { accepted: batch.length - 1, rejected: [{ index: 3, reason: "schema", message: "no" }] };
  });
  assert.deepEqual(sizes, [100, 100, 50]);
  assert.deepEqual(refused.map(one => one.action.item_id), [3, 103, 203]);
  assert.equal(visitor.actions.length, 247);
});

test("each try waits longer, and as long as the server says", () => {
  assert.deepEqual([0, 1, 2, 9].map(tries => backoffMs(tries)), [250, 500, 1000, 5000]);
  assert.equal(backoffMs(0, 7), 7000);
});

test("the sentence says what was measured", () => {
  const facts = { followedMs: 41.2, knewMs: 38, action: "click", knew: true };
  assert.equal(words.followed(facts), "feed followed in 41 ms: it knew your click 38 ms after you made it");
  assert.match(words.followed({ ...facts, knew: false }), /did not know your click yet/);
  assert.match(words.followed({ ...facts, action: null }), /knows of nothing/);
});

test("stages add up to what the click took", () => {
  const timings = { retrieve: 2, join: 1, score: 5, blend: 0.5, total: 9 };
  const parts = words.stages({ sentMs: 4, askedMs: 12, paintedMs: 6, timings });
  const names = ["action taken", "retrieve", "join", "score", "blend", "on the way", "painted"];
  assert.deepEqual(parts.map(one => one.name), names);
  assert.equal(parts.reduce((sum, one) => sum + one.ms, 0), 22);
  assert.equal(words.stages({ sentMs: 0, askedMs: 5, paintedMs: 1, timings: {} }).length, 3);
});

test("numbers in words", () => {
  const { age, duration, moved, score, waiting } = words;
  assert.deepEqual([3.14, 41.5, 12_345, null].map(duration), ["3.1 ms", "42 ms", "12 s", "unknown"]);
  assert.deepEqual([0, 400, 30_000, 600_000, 7_200_000].map(age), ["0 s", "less than 1 s", "30 s", "10 min", "2 h"]);
  assert.deepEqual([score(-0.0312), score(0.5), score(null)], ["\u22120.031", "+0.500", "left out"]);
  assert.deepEqual([moved(null, 3), moved(4, 1), moved(1, 4), moved(2, 2)], ["new", "\u25b23", "\u25bc3", ""]);
  assert.deepEqual([waiting(0), waiting(1)], ["", "; 1 action of yours waits in this page and will be sent"]);
  assert.equal(waiting(0, 2), "; 2 actions of yours are taken, and no feed knows them yet");
});

test("a cover is the same for the same item, and its colour the category's", () => {
  const card = { item_id: "a", title: "\u00dcber das Meer", category: ["Films"] };
  assert.deepEqual(coverOf(card), coverOf({ ...card }));
  assert.equal(coverOf(card).initials, "\u00dcD");
  const initials = title => coverOf({ ...card, title }).initials;
  assert.deepEqual(["Titanic (1997)", "Alien [Blu-ray] 3", "(500) Days", "(1997)"].map(initials), ["T", "A3", "D", "1"]);
  assert.equal(coverOf({ ...card, item_id: "b" }).hue, coverOf(card).hue);
  assert.equal(coverOf({ item_id: "<!>", title: null, category: [] }).initials, "?");
  assert.equal(hash("a"), 0xe40c292c);
});
