// What a visitor did, on its way: kept until somebody has acknowledged it, sent again with the same time and item, by
// which every state knows an action that it has. A flood of clicks is a few calls.

export const BATCH = 100;

export async function flush(visitor, send) {
  const refused = [];
  while (visitor.unsent.length) {
    const batch = visitor.unsent.slice(0, BATCH);
    const answer = await send(batch.map(one => ({ user_id: visitor.userId, ...one })));
    const rejected = (answer.rejected ?? []).map(one => ({ ...one, action: batch[one.index] }));
    visitor.unsent = visitor.unsent.filter(one => !batch.includes(one));
    visitor.forget(rejected.map(one => one.action));
    refused.push(...rejected);
  }
  return refused;
}

// How long to wait before the next try, in ms: doubled each time, but no shorter than the server asks for.
export function backoffMs(tries, retryAfterS = 0) {
  return Math.max(1000 * retryAfterS, Math.min(5000, 250 * 2 ** Math.min(tries, 10)));
}
