// Reads and checks QR seals and status lists, as strictly as core/formats does (a test compares the two).
// Knows nothing of the page and of the network.

const MOST = 600, DEEP = 8, LIST_MOST = 1 << 22;

/** A refusal; `why` is the name of a part of the page. */
export class Refusal extends Error {
  constructor(why) { super(why); this.why = why; }
}
const refuse = () => { throw new Refusal('why.malformed'); };

// ------------------------------------------------------------------------------------------------------- base32
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The bytes behind the `#`: base32 in either case, no padding, no loose bits. */
export function unbase32(text) {
  if (!/^[A-Za-z2-7]{1,960}$/.test(text) || [1, 3, 6].includes(text.length % 8)) refuse();
  const out = [];
  let bits = 0, value = 0;
  for (const letter of text.toUpperCase()) {
    value = value << 5 | LETTERS.indexOf(letter);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      out.push(value >> bits & 255);
      value &= (1 << bits) - 1;
    }
  }
  if (value) refuse();
  return Uint8Array.from(out);
}

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** Ten bytes as they are printed: 7K3M-9QXT-2H5R-WD4F. */
export function typedCode(id) {
  let text = '', bits = 0, value = 0;
  for (const byte of id) {
    value = value << 8 | byte;
    for (bits += 8; bits >= 5;) {
      bits -= 5;
      text += CROCKFORD[value >> bits & 31];
    }
    value &= (1 << bits) - 1;
  }
  return text.match(/.{4}/g).join('-');
}

// --------------------------------------------------------------------------------------------------------- CBOR
/** A strict subset: integers, bytes, text, arrays, maps (a Map), shortest forms, sorted keys, nothing behind. */
export function cbor(data, most = MOST) {
  if (data.length > most) refuse();
  let at = 0;

  function head() {
    if (at >= data.length) refuse();
    const major = data[at] >> 5, info = data[at] & 31;
    at += 1;
    if (info < 24) return [major, info];
    const size = 1 << info - 24;
    if (info > 27 || at + size > data.length) refuse();
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + data[at++];  // above 2^53 inexact, and refused as any claim
    if (value < (size === 1 ? 24 : 2 ** (4 * size))) refuse();
    return [major, value];
  }

  function item(depth) {
    const [major, value] = head();
    if (depth > DEEP || major > 5) refuse();
    if (major === 0) return value;
    if (major === 1) return -1 - value;
    if (value > data.length - at) refuse();
    if (major < 4) {
      const raw = data.subarray(at, at += value);
      if (major === 2) return raw;
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
      } catch (error) {
        return refuse();
      }
    }
    if (major === 4) {
      const items = [];
      for (let i = 0; i < value; i++) items.push(item(depth + 1));
      return items;
    }
    const pairs = new Map();
    let last = new Uint8Array();
    for (let i = 0; i < value; i++) {
      const start = at, key = item(depth + 1), raw = data.subarray(start, at);
      if (Array.isArray(key) || key instanceof Map || !after(raw, last)) refuse();
      pairs.set(key, item(depth + 1));
      last = raw;
    }
    return pairs;
  }

  const found = item(0);
  if (at !== data.length) refuse();
  return found;
}

function after(one, other) {
  for (let i = 0; i < Math.min(one.length, other.length); i++) if (one[i] !== other[i]) return one[i] > other[i];
  return one.length > other.length;
}

const isBytes = (value, size) => value instanceof Uint8Array && (size === undefined || value.length === size);
const same = (one, other) => one.length === other.length && one.every((byte, i) => byte === other[i]);

// --------------------------------------------------------------------------------------------------------- COSE
/** The four parts of a COSE_Sign1: only alg -7, a kid of four bytes, nothing unprotected. */
export function sign1(data, most = MOST) {
  const parts = cbor(data, most);
  if (!Array.isArray(parts) || parts.length !== 4) refuse();
  const [head, loose, payload, signature] = parts;
  if (!isBytes(head) || !(loose instanceof Map) || loose.size || !isBytes(payload) || !isBytes(signature, 64)) refuse();
  const header = cbor(head);
  if (!(header instanceof Map) || header.size !== 2 || header.get(1) !== -7 || !isBytes(header.get(4), 4)) refuse();
  return { kid: header.get(4), payload, signature, signed: toBeSigned(head, payload) };
}

function bytesItem(raw) {
  const n = raw.length;
  const head = n < 24 ? [0x40 | n] : n < 256 ? [0x58, n] : n < 65536 ? [0x59, n >> 8, n & 255]
    : [0x5a, n >>> 24, n >> 16 & 255, n >> 8 & 255, n & 255];
  return [Uint8Array.from(head), raw];
}

function toBeSigned(head, payload) {
  const parts = [Uint8Array.of(0x84, 0x6a), new TextEncoder().encode('Signature1'), ...bytesItem(head),
    Uint8Array.of(0x40), ...bytesItem(payload)];
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
}

async function rightly(parts, spki) {
  const key = await crypto.subtle.importKey('spki', spki, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['verify']);
  return crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, key, parts.signature, parts.signed);
}

// ------------------------------------------------------------------------------------------------------- claims
const KNOWN = [6, 7, -1, -2, -3, -4, -5, -7];
const HIDDEN = new RegExp('[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Co}\\p{Cn}\\p{Zl}\\p{Zp}]', 'u');

function number(value, least, most) {
  return Number.isInteger(value) && value >= least && value <= most ? value : refuse();
}

/** NFC, nothing hidden or turned around, at most `most` bytes. */
function text(value, most) {
  if (typeof value !== 'string' || !value || value.normalize('NFC') !== value || HIDDEN.test(value)) refuse();
  return new TextEncoder().encode(value).length > most ? refuse() : value;
}

/** What a seal says; exactly the known keys. Times in milliseconds. */
export function claims(payload) {
  const map = cbor(payload);
  if (!(map instanceof Map)) refuse();
  const extra = map.has(-6) ? 1 : 0, book = map.get(-2);
  if (map.size !== KNOWN.length + extra || !KNOWN.every((key) => map.has(key))) refuse();
  if (!Array.isArray(book) || book.length !== 3) refuse();
  if (!isBytes(map.get(7), 10) || !isBytes(map.get(-1), 32)) refuse();
  return {
    issued: number(map.get(6), 0, 2 ** 35) * 1000, id: map.get(7), content: map.get(-1),
    number: number(book[0], 1, 2 ** 31), year: number(book[1], 2000, 9999), volume: number(book[2], 1, 9999),
    kind: typeof map.get(-3) === 'string' ? text(map.get(-3), 60) : number(map.get(-3), 0, 65535),
    pages: number(map.get(-4), 1, 65535), initials: text(map.get(-5), 16),
    index: number(map.get(-7), 0, 2 ** 24), original: extra ? text(map.get(-6), 16) : null,
  };
}

/** Form alone: what is in the fragment, unverified. */
export function open(fragment) {
  const data = unbase32(fragment), parts = sign1(data);
  return { parts, claims: claims(parts.payload) };
}

// -------------------------------------------------------------------------------------------------------- lists
const hex = (raw) => Array.from(raw, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** The key list, or null if it is not one. */
export function keyList(data) {
  try {
    const value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data));
    const keys = value.keys.map((key) => ({
      kid: key.kid, spki: Uint8Array.from(atob(key.spki), (c) => c.charCodeAt(0)), agency: String(key.agency),
      name: String(key.name), from: Date.parse(key.valid_from), to: Date.parse(key.valid_to), status: key.status,
      good: key.alg === 'ES256' && /^[0-9a-f]{8}$/.test(key.kid) && /^(active|retired|revoked)$/.test(key.status),
    }));
    const list = { sequence: value.sequence, until: Date.parse(value.next_update), types: value.document_types, keys };
    const good = Number.isSafeInteger(list.sequence) && list.until && keys.every((key) => key.good && key.from && key.to);
    return good ? list : null;
  } catch (error) {
    return null;
  }
}

/** A status list with a right signature by a key of its own agency, or null. */
export async function statusList(data, keys, agency, year) {
  try {
    const parts = sign1(data, LIST_MOST);
    const body = cbor(parts.payload, LIST_MOST);
    if (!Array.isArray(body) || body.length !== 6 || body[0] !== agency || body[1] !== year) return null;
    const [, , sequence, issued, until, bits] = body;
    if (![sequence, issued, until].every(Number.isSafeInteger) || issued < 0
      || issued > until || until >= 2 ** 35 || !isBytes(bits)) return null;
    for (const key of keys.keys) {
      if (key.agency === agency && key.status !== 'revoked' && await rightly(parts, key.spki).catch(() => false)) {
        return { sequence, issued: issued * 1000, until: until * 1000, bits };
      }
    }
  } catch (error) {
    // not a list
  }
  return null;
}

/** 0 not issued, 1 valid, 2 recalled, 3 superseded; beyond the list: not issued. */
export const statusAt = (list, index) => index < list.bits.length * 4 ? list.bits[index >> 2] >> index % 4 * 2 & 3 : 0;

// ------------------------------------------------------------------------------------------------------ verdict
/** Signature and key, all keys of that kid; → {state, why, claims, key}; claims only if the signature is right. */
export async function checkSignature({ parts, claims: said }, keys, now) {
  const old = now > keys.until, candidates = keys.keys.filter((key) => key.kid === hex(parts.kid));
  for (const key of candidates) {
    if (!await rightly(parts, key.spki).catch(() => false)) continue;
    if (said.issued < key.from || said.issued > key.to) return { state: 'invalid', why: 'why.key_dates' };
    if (key.status === 'revoked') return { state: 'invalid', why: 'why.key_revoked' };
    return { state: old ? 'undetermined' : 'valid', why: old ? 'why.keys_old' : '', claims: said, key };
  }
  if (old) return { state: 'undetermined', why: 'why.keys_old' };
  return { state: 'invalid', why: candidates.length ? 'why.forged' : 'why.unknown_key' };
}

/** Without the register: what the status list lets us say of a right signature. */
export function byList(check, list, now) {
  if (check.state !== 'valid') return { state: check.state, why: check.why };
  if (!list) return { state: 'undetermined', why: 'why.no_status' };
  const status = statusAt(list, check.claims.index);
  if (status > 1) return { state: 'revoked' };
  if (status === 1) return now > list.until ? { state: 'undetermined', why: 'why.status_old' } : { state: 'valid' };
  return check.claims.issued > list.issued ? { state: 'undetermined', why: 'why.list_before' }
    : { state: 'invalid', why: 'why.not_issued' };
}

/** With the register's answer: it decides, but never against a recall in the list, and only over the same paper. */
export function byRegister(check, list, answer, now) {
  const said = check.claims, known = answer.facts;
  if (answer.state === 'invalid' || !known) return { state: 'invalid', why: 'why.not_in_register' };
  const differs = known.number !== said.number || known.year !== said.year || known.volume !== said.volume
    || known.pages !== said.pages || known.content_sha256 !== hex(said.content) || known.agency_code !== check.key.agency
    || known.initials !== said.initials || known.original_number !== said.original
    || Date.parse(known.issued_at) !== said.issued;
  if (differs) return { state: 'invalid', why: 'why.differs' };
  if (answer.state === 'revoked') return { state: 'revoked' };
  if (check.state !== 'valid') return { state: check.state, why: check.why };
  return list && statusAt(list, said.index) > 1 ? { state: 'revoked' } : { state: 'valid' };
}

/** Digests of the file up to each `%%EOF`, oldest first, until one is the certified scan. */
export async function holdsScan(file, content, most = 128) {
  const data = new Uint8Array(await file.arrayBuffer()), mark = [37, 37, 69, 79, 70];
  for (let at = data.indexOf(37), tries = 0; at >= 0 && tries < most; at = data.indexOf(37, at + 1)) {
    if (!mark.every((byte, i) => data[at + i] === byte)) continue;
    let end = at + 5;
    if (data[end] === 13 && data[end + 1] === 10) end += 2;
    else if (data[end] === 13 || data[end] === 10) end += 1;
    tries += 1;
    if (same(new Uint8Array(await crypto.subtle.digest('SHA-256', data.subarray(0, end))), content)) return true;
  }
  return false;
}
