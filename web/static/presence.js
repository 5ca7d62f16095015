// Who is there: the server of the page, Kafka behind it, a worker behind that; and a word when one is away.

import { call } from "./api.js";
import { at, session, sleep } from "./session.js";
import { waiting } from "./words.js";

const LOOK_EVERY_MS = 2000;

export function well(note = "") {
  const { through } = session.start;
  tell("well", (through === "kafka" ? "Kafka and a worker answer" : "the worker in this process answers") + note);
}

export function away(problem) {
  const unsent = session.visitor.unsent.length;
  tell("away", problem.message + waiting(unsent, session.clicks.length - unsent));
}

export function tell(kind, text) {
  at("state").dataset.kind = kind;
  at("state").textContent = text;
}

// Look now and then whether the server is ready, so that the page knows before somebody clicks.
export async function watch(wake) {
  for (;;) {
    await sleep(LOOK_EVERY_MS);
    try {
      await call("/ready");
    } catch (problem) {
      away(problem);
      wake();
    }
  }
}
