// What a feed took, measured here, and where the time went.

import { at, session } from "./session.js";
import { duration, followed, stages, stagesText } from "./words.js";

let painted = 0;

// Resolve when what was drawn is on the screen: after the frame that holds it.
export function onScreen() {
  return new Promise(done => {
    if (document.hidden) return void setTimeout(done, 0);
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = done;
      port2.postMessage(null);
    });
  });
}

// Report a feed: `click` is what it follows (null: nothing new), `times` are of this page's clock.
export function report(feed, click, knew, times) {
  const from = click ? click.at : times.began, followedMs = times.painted - from;
  const knewMs = click && feed.ranked_at_ms - click.one.timestamp_ms;
  const parts = stages({
    sentMs: times.sent - from,
    askedMs: times.answered - times.sent,
    paintedMs: times.painted - times.answered,
    timings: feed.timings_ms ?? {},
  });
  const line = at("followed"), again = click === null && session.visitor.actions.length > 0;
  const facts = { followedMs, knewMs, action: click && click.one.action, knew };
  line.textContent = again ? `feed in ${duration(followedMs)}` : followed(facts);
  const known = { knew, action: facts.action ?? "", actions: session.visitor.actions.length };
  Object.assign(line.dataset, { feeds: ++painted, ms: followedMs.toFixed(1), ...known });
  drawStrip(parts);
}

function drawStrip(parts) {
  const total = parts.reduce((sum, one) => sum + one.ms, 0) || 1;
  at("strip").replaceChildren(...parts.map(({ name, ms }) => {
    const part = document.createElement("span");
    part.className = name.replaceAll(" ", "-");
    part.style.flexGrow = String(ms / total);
    return part;
  }));
  at("stages").textContent = stagesText(parts);
  at("strip").setAttribute("aria-label", `from click to painted: ${stagesText(parts)}`);
}
