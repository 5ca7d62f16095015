// JSON as the gateway writes it. A whole number beyond 2^53 can't be a number here: as text it names the same item.

const LONG_IDS = /"(item_id|because_of|user_id|request_id)":\s*(-?\d{16,})(?=[,}\]\s])/g;

export function parse(text) {
  return text === "" ? null : JSON.parse(text.replace(LONG_IDS, '"$1":"$2"'));
}
