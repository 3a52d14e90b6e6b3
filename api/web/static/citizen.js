// The page's behaviour. Holds no sentence: it clones templates and fills in values, as text only.
// What is read from a seal stays here; the register is asked by code, never with the seal, never in an address.

import * as seals from './seal.js';

const WAIT = 8000, HOUR = 3600000, KEYS = '/.well-known/qr-seal-keys';
const $ = (id) => document.getElementById(id);
const result = $('result'), form = $('file-form'), picked = $('file');
const printed = document.querySelector('.here').textContent;
const canCheck = !!(window.crypto && crypto.subtle && window.TextDecoder);
let shown = null;  // digest of the certified scan of the code on the page

// ------------------------------------------------------------------------------------------------------ the page
const template = (id) => document.importNode($(id).content, true);

function place(node, where = result) {
  where.textContent = '';
  where.append(node);
  for (const button of where.querySelectorAll('.print')) {
    button.hidden = false;
    button.onclick = () => window.print();
  }
  if (where !== result || where.querySelector('.busy')) return;
  where.scrollIntoView();
  where.focus({ preventScroll: true });
}

function show({ state, parts, slots }) {
  const node = template('tpl-result'), wanted = new Set(parts);
  node.querySelector('.result').dataset.state = state;
  for (const each of node.querySelectorAll('[data-part]')) if (!wanted.has(each.dataset.part)) each.remove();
  for (const each of node.querySelectorAll('[data-slot]')) each.textContent = slots[each.dataset.slot] || '';
  place(node);
}

/** A result that the server drew, or its words about why there is none. */
function placeAnswer(kind, body) {
  if (kind.includes('json')) {
    const node = template('tpl-no-network'), said = JSON.parse(body);
    node.querySelector('p').textContent = said.title;
    return place(node);
  }
  const node = new DOMParser().parseFromString(body, 'text/html').querySelector('#result .result');
  return node ? place(document.importNode(node, true)) : place(template('tpl-no-network'));
}

function dateText(at) {
  const local = new Date(at + 7 * HOUR).toISOString();
  return `${local.slice(8, 10)}/${local.slice(5, 7)}/${local.slice(0, 4)}`;
}
const timeText = (at) => `${dateText(at)}, ${new Date(at + 7 * HOUR).toISOString().slice(11, 16)}`;

// --------------------------------------------------------------------------------------------------- the network
async function fetched(path, options) {
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), WAIT);
  try {
    const answer = await fetch(path, { credentials: 'omit', signal: stop.signal, ...options });
    return { ok: answer.ok, kind: answer.headers.get('content-type') || '', body: await answer.arrayBuffer() };
  } finally {
    clearTimeout(timer);
  }
}

/** POST of JSON; null when nobody answers. */
async function asked(path, question) {
  try {
    const answer = await fetched(path, {
      method: 'POST', body: JSON.stringify(question), headers: { 'content-type': 'application/json', accept: 'application/json' },
    });
    return answer.ok ? JSON.parse(new TextDecoder().decode(answer.body)) : null;
  } catch (error) {
    return null;
  }
}

function lastSeen(path, sequence) {
  try {
    const seen = Number(localStorage.getItem(path)) || 0;
    if (sequence > seen) localStorage.setItem(path, sequence);
    return seen;
  } catch (error) {
    return 0;
  }
}

/** A public list: from the network, else as kept here; never one that is older than the last seen. */
async function list(path, read) {
  const kept = window.caches ? await caches.open('dauso-lists').catch(() => null) : null;
  const fresh = await fetched(path, { cache: 'no-cache' }).then((a) => a.ok ? a.body : null).catch(() => null);
  const before = kept && await kept.match(path);
  for (const body of [fresh, before && await before.arrayBuffer()]) {
    const found = body && await read(new Uint8Array(body));
    if (!found || found.sequence < lastSeen(path, found.sequence)) continue;
    if (body === fresh && kept) await kept.put(path, new Response(body)).catch(() => null);
    return found;
  }
  return null;
}

// --------------------------------------------------------------------------------------------------------- seals
async function checkSeal(fragment) {
  place(template('tpl-busy'));
  shown = null;
  if (!canCheck) return byServer(fragment);
  const now = Date.now(), checked = timeText(now);
  const plainly = (state, why) => show({ state, parts: [`say.${state}`, why], slots: { checked } });
  let seal;
  try {
    seal = seals.open(fragment);
  } catch (error) {
    return plainly('invalid', 'why.malformed');
  }
  const keys = await list(KEYS, seals.keyList);
  if (!keys) return plainly('undetermined', 'why.no_keys');
  const check = await seals.checkSignature(seal, keys, now);
  if (!check.claims) return plainly(check.state, check.why);
  const { agency } = check.key, { year, id } = check.claims;
  const [statuses, answer] = await Promise.all([
    list(`/.well-known/qr-status/${encodeURIComponent(agency)}/${year}`, (data) => seals.statusList(data, keys, agency, year)),
    asked('/v/status', { code: seals.typedCode(id) }),
  ]);
  const verdict = answer ? seals.byRegister(check, statuses, answer, now) : seals.byList(check, statuses, now);
  if (verdict.state !== 'invalid') shown = check.claims.content;
  return show(drawn(check, keys, statuses, answer, verdict, now));
}

/** A seal has room for `most` bytes: what fills them may go on, on the paper. */
const uncut = (text, most) => new TextEncoder().encode(text || '').length > most - 3 ? `${text}…` : text;

/** The parts of the page that say it, and their values. */
function drawn(check, keys, statuses, answer, { state, why }, now) {
  const said = check.claims, known = answer && answer.facts, recall = answer && answer.recall;
  const parts = [], slots = { checked: timeText(answer ? Date.parse(answer.checked_at) : now) };
  if (statuses) slots.listed = timeText(statuses.issued);
  if (state === 'revoked' && recall) {
    const at = Date.parse(recall.at);
    Object.assign(slots, { recalled: timeText(at), recalled_day: dateText(at), reason: recall.reason, successor: recall.successor });
    parts.push('say.revoked', 'recall');
    if (recall.reason) parts.push('recall.reason');
    if (recall.successor) parts.push('recall.successor');
  } else {
    parts.push(state === 'revoked' ? 'say.revoked_by_list' : `say.${state}`);
  }
  if (why) parts.push(why);
  parts.push(answer ? 'note.online' : statuses && !/list|status|issued/.test(why) ? 'note.offline' : 'note.offline_bare');
  if (state === 'invalid') return { state, parts, slots };
  parts.push('facts', ...(state === 'revoked' ? ['concerns'] : ['compare', 'caution']));
  if (said.original) parts.push('fact.original');
  if (known && known.agency_successor) parts.push('fact.successor');
  Object.assign(slots, known ? {
    agency: known.agency, agency_successor: known.agency_successor, number: known.number_text, book: known.book_text,
    kind: known.kind, original: known.original_text,
  } : {
    agency: check.key.name, number: `${said.number}/…`, book: `${String(said.volume).padStart(2, '0')}/${said.year}-…`,
    kind: keys.types[said.kind] || uncut(said.kind, 24), original: uncut(said.original, 16),
  }, { date: dateText(said.issued), pages: said.pages, initials: said.initials, code: seals.typedCode(said.id) });
  if (/…/.test(`${slots.number}${slots.kind}${slots.original}`)) parts.push('fact.partial');
  return { state, parts, slots };
}

/** Where the browser has no WebCrypto (an address without https): the server checks, and the page says so. */
async function byServer(fragment) {
  const answer = await asked('/v/seal', { seal: fragment });
  return answer ? show(answer) : place(template('tpl-no-network'));
}

/** Takes the seal out of the address bar, so that nothing keeps or shares it, and checks it. */
function readAddress() {
  const fragment = location.hash.slice(1);
  if (!fragment || $(fragment)) return;
  history.replaceState(null, '', location.pathname);
  checkSeal(fragment);
}

/** The fragment of a QR code of this very door, or null. */
function ours(text) {
  const [start, fragment] = text.split('#');
  return fragment && [printed, location.host].some((host) => start === `https://${host}/v`) ? fragment : null;
}

// --------------------------------------------------------------------------------------------------- typed codes
$('code-form').onsubmit = async (event) => {
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target));
  place(template('tpl-busy'));
  shown = null;
  try {
    const answer = await fetched('/v/code', { method: 'POST', body, headers: { accept: 'text/html' } });
    placeAnswer(answer.kind, new TextDecoder().decode(answer.body));
  } catch (error) {
    place(template('tpl-no-network'));
  }
};

// --------------------------------------------------------------------------------------------------------- files
const codesIn = (picture) => new BarcodeDetector({ formats: ['qr_code'] }).detect(picture);

/** First click: looked at here, sent nowhere. */
async function look() {
  const file = picked.files[0], said = $('file-said');
  said.textContent = '';
  if (!file) return;
  if (file.type.startsWith('image/')) {
    if (window.BarcodeDetector && window.createImageBitmap) {
      const found = await createImageBitmap(file).then(codesIn).catch(() => []);
      const seal = found.map((code) => ours(code.rawValue)).find(Boolean);
      if (seal) checkSeal(seal);
    }
    place(template('tpl-file-picture'), said);
  } else if (shown && canCheck) {
    const match = await seals.holdsScan(file, shown).catch(() => null);
    place(template(match === null ? 'tpl-file-alone' : match ? 'tpl-file-match' : 'tpl-file-differs'), said);
  } else {
    place(template('tpl-file-alone'), said);
  }
}

/** Second click: the full check, by the server. */
function send() {
  const request = new XMLHttpRequest(), bar = $('bar'), progress = $('file-progress'), button = $('file-button');
  const finish = (node) => {
    progress.hidden = true;
    button.disabled = false;
    if (node) place(node);
  };
  request.open('POST', '/v/file');
  request.setRequestHeader('accept', 'text/html');
  request.upload.onprogress = (event) => { bar.value = event.lengthComputable ? 95 * event.loaded / event.total : 0; };
  request.onload = () => {
    finish();
    placeAnswer(request.getResponseHeader('content-type') || '', request.responseText);
  };
  request.onerror = () => finish(template('tpl-no-network'));
  progress.hidden = false;
  button.disabled = true;
  request.send(new FormData(form));
}

picked.onchange = look;
form.onsubmit = (event) => {
  event.preventDefault();
  send();
};
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  if (!event.dataTransfer.files.length) return;
  picked.files = event.dataTransfer.files;
  form.scrollIntoView();
  look();
});

// -------------------------------------------------------------------------------------------------------- camera
async function scan() {
  const video = document.querySelector('video'), view = $('camera');
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  } catch (error) {
    return place(template('tpl-camera-refused'));
  }
  let open = true;
  const stop = () => {
    open = false;
    stream.getTracks().forEach((track) => track.stop());
    view.hidden = true;
  };
  $('scan-stop').onclick = stop;
  view.hidden = false;
  video.srcObject = stream;
  await video.play();
  while (open) {
    const found = await codesIn(video).catch(() => []);
    if (found.length && open) {
      stop();
      const seal = ours(found[0].rawValue);
      return seal ? checkSeal(seal) : place(template('tpl-camera-foreign'));
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

// --------------------------------------------------------------------------------------------------------- start
document.querySelector('.no-script').remove();
for (const here of document.querySelectorAll('.here')) here.textContent = location.host;  // the true one
if (window.BarcodeDetector && navigator.mediaDevices) {
  $('scan').hidden = false;
  $('scan').onclick = scan;
}
for (const button of document.querySelectorAll('.print')) {
  button.hidden = false;
  button.onclick = () => window.print();
}
window.addEventListener('hashchange', readAddress);
readAddress();
if (navigator.serviceWorker) {
  navigator.serviceWorker.register('/v/sw.js', { scope: '/v' }).then(() => navigator.serviceWorker.ready)
    .then(() => list(KEYS, seals.keyList)).then(() => { $('offline').hidden = false; }).catch(() => null);
}
