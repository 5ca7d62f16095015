// A visitor: an id, and all that it did, oldest first. The page holds the list; the server keeps a state made of it.

const IDENTITY_MS = 1;  // two actions of one type on one item at one time are one action: no two have one time here

export class Visitor {
  constructor(userId, actions = [], unsent = actions.slice()) {
    this.userId = userId;
    this.actions = actions;
    this.unsent = unsent;  // of these, what nobody has acknowledged yet, in order
  }

  static fresh(random = Math.random) {
    const digits = Array.from({ length: 12 }, () => "0123456789abcdefghijklmnopqrstuvwxyz"[Math.floor(36 * random())]);
    return new Visitor(`live-${digits.join("")}`);
  }

  get newest() {
    return this.actions.length ? this.actions[this.actions.length - 1] : null;
  }

  did(itemId, action, nowMs) {
    const after = this.newest ? this.newest.timestamp_ms + IDENTITY_MS : 0;
    const one = { item_id: itemId, action, timestamp_ms: Math.max(Math.round(nowMs), after) };
    this.actions.push(one);
    this.unsent.push(one);
    return one;
  }

  // Another visitor that did the same at the same times, but for the last action: its state is that of one who never
  // did it, as states are made of actions alone.
  undone(random = Math.random) {
    return new Visitor(Visitor.fresh(random).userId, this.actions.slice(0, -1));
  }

  forget(rejected) {
    this.actions = this.actions.filter(one => !rejected.includes(one));
    this.unsent = this.unsent.filter(one => !rejected.includes(one));
  }

  // Milliseconds until the next action becomes old enough to count; null: none will.
  nextChangeMs(nowMs, staleMs) {
    const times = this.actions.map(one => one.timestamp_ms + staleMs - nowMs).filter(ms => ms > 0);
    return times.length ? Math.min(...times) : null;
  }

  toJSON() {
    return { userId: this.userId, actions: this.actions, sent: this.actions.length - this.unsent.length };
  }

  static of(saved) {
    return new Visitor(saved.userId, saved.actions, saved.actions.slice(saved.sent));
  }
}

// Does a feed that was asked for at a time know an action, where that was the newest one?
export function knows(feed, askedMs, newest) {
  if (!newest) return true;
  const age = feed.newest_action_age_ms;
  return age !== null && age !== undefined && askedMs - age >= newest.timestamp_ms;
}
