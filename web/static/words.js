// Numbers and facts in words; no page is known here.

export const STALENESS_S = [0, 5, 10, 30, 60, 120, 300, 600, 3600];

export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "unknown";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 10_000) return `${Math.round(ms)} ms`;
  return age(ms);
}

export function age(ms) {
  if (ms > 0 && ms < 1000) return "less than 1 s";
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return `${Math.round(s / 3600)} h`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

export function score(number) {
  return number === null ? "left out" : `${number < 0 ? "\u2212" : "+"}${Math.abs(number).toFixed(3)}`;
}

export function followed({ followedMs, knewMs, action, knew }) {
  if (action === null) return `feed in ${duration(followedMs)}: it knows of nothing that this visitor did`;
  if (!knew) return `feed in ${duration(followedMs)}: it did not know your ${action} yet, asking again`;
  return `feed followed in ${duration(followedMs)}: it knew your ${action} ${duration(knewMs)} after you made it`;
}

export function moved(from, to) {
  if (from === null) return "new";
  return from === to ? "" : from > to ? `\u25b2${from - to}` : `\u25bc${to - from}`;
}

// The stages of an answer, in order; they add up to the time from click to paint.
export function stages({ sentMs, askedMs, paintedMs, timings }) {
  const names = ["retrieve", "join", "score", "blend"];
  const ranked = names.filter(name => name in timings).map(name => ({ name, ms: timings[name] }));
  const total = timings.total ?? ranked.reduce((sum, one) => sum + one.ms, 0);
  const inside = ranked.reduce((sum, one) => sum + one.ms, 0);
  return [
    { name: "action taken", ms: sentMs },
    ...ranked,
    { name: "on the way", ms: Math.max(0, askedMs - total) + Math.max(0, total - inside) },
    { name: "painted", ms: paintedMs },
  ];
}

export function stagesText(parts) {
  return parts.map(({ name, ms }) => `${name} ${duration(ms)}`).join(" \u00b7 ");
}

export function proposedBy(source, becauseTitle) {
  if (!source) return "";
  return becauseTitle ? `${source}, because of ${becauseTitle}` : source;
}

// One reason as a sentence, without the number of its effect.
export function cause(one, title) {
  if (one.of === "action") return `your ${one.action} on ${title}, ${age(one.age_ms)} before`;
  if (one.of === "all actions") return "all that you did";
  if (one.of === "batch vector") return "the batch vector of this user";
  return one.of;
}

export function rankWithout(one, rank) {
  if (one.rank_without === null) return "without it: left out";
  return one.rank_without === rank ? "without it: the same rank" : `without it: rank ${one.rank_without}`;
}

// What became of the actions that no feed has known: they wait in this page, or somebody has them already.
export function waiting(unsent, taken = 0) {
  const wait = `; ${count(unsent, "action")} of yours ${unsent === 1 ? "waits" : "wait"} in this page and will be sent`;
  const safe = `; ${count(taken, "action")} of yours ${taken === 1 ? "is" : "are"} taken, and no feed knows them yet`;
  return (unsent > 0 ? wait : "") + (taken > 0 ? safe : "");
}
