// One matter on one page: entry, reading, answering, how it stands. Whatever happens, the server is asked where the
// matter stands before anything is done: a reload or a lost line never leads to a second signature.

import { $, alive, announce, ask, fill, get, hasWebAuthn, note, post, retried, sleep, template, view, word } from './sign.js';
import { readings } from './reading.js';

const base = location.pathname.replace(/\/+$/, ''), WAIT = 20, PAUSE = 4;
let pass = load(), shown = null, turn = 0;

// ---------------------------------------------------------------------------------------------------- what is kept
function load() {
  try {
    return sessionStorage.getItem(base) || '';
  } catch (error) {
    return '';
  }
}

function keep(value) {
  pass = value;
  try {
    if (value) sessionStorage.setItem(base, value);
    else sessionStorage.removeItem(base);
  } catch (error) { /* then it is kept as long as the page stands */ }
}

// ------------------------------------------------------------------------------------------------------ the states
function show(name) {
  view(name);
  $('elsewhere').hidden = name !== 'entry' && name !== 'nokey';
  $('elsewhere').open = name === 'nokey';
}

/** What went wrong, in the place where it helps. */
function trouble(problem) {
  if (problem.code.startsWith('pass.')) {
    keep('');
    note('entry-note', problem.title);
    show('entry');
  } else if (problem.code === 'link.unknown') {
    keep('');
    show('gone');
  } else {
    show('problem');
    fill($('main'), { problem: problem.title });
  }
}

/** From the beginning: where does it stand? Only the newest call goes on. */
async function follow() {
  turn += 1;
  const mine = turn;
  try {
    let standing = await retried(() => get(`${base}/status`, { pass }));
    while (mine === turn && !standing.final && standing.state !== 'ready' && standing.state !== 'open') {
      if (watched !== standing.state) watch(standing);
      standing = await next(standing);
    }
    if (mine !== turn) return;
    if (standing.final) done(standing);
    else await read(mine, standing);
  } catch (error) {
    if (mine === turn) trouble(error);
  }
}

let watched = '';

function watch(standing) {
  fill(document.querySelector('[data-view=standing]'), { said: standing.said });
  if (watched !== standing.state) show('standing');
  watched = standing.state;
  announce(standing.said);
}

/** The next standing; not asked more often than every few seconds. */
async function next(standing) {
  const asked = Date.now();
  const found = await retried(() => get(`${base}/status?wait=${WAIT}`, { pass, seconds: WAIT + 15 }));
  if (found.state === standing.state && Date.now() - asked < PAUSE * 1000) await sleep(PAUSE);
  return found;
}

function done(standing) {
  const place = document.querySelector('[data-view=done]'), good = standing.good;
  watched = '';
  fill(place, standing);
  place.querySelector('h1').className = `verdict ${good ? 'good' : 'bad'}`;
  const back = standing.return_url && /^https?:\/\//.test(standing.return_url) ? standing.return_url : '';
  fill(place, { return_url: back });
  if (back) $('return').href = back;
  $('files').textContent = '';
  for (const file of standing.files) $('files').append(readings.fileButton(base, pass, file, trouble));
  show('done');
  announce(standing.said);
}

// --------------------------------------------------------------------------------------------------------- reading
async function read(mine, standing) {
  const found = await retried(() => post(`${base}/show`, {}, { pass }));
  if (mine !== turn) return;
  const first = !shown || JSON.stringify(shown.documents) !== JSON.stringify(found.documents);
  shown = found;
  watched = '';
  readings.place(found);
  if (first) readings.documents(base, () => pass, found, trouble);
  $('approve').hidden = !!found.provider;
  $('start').hidden = !found.provider || found.handed_over;
  $('provider').hidden = !found.handed_over;
  closeRefusal();
  note('reading-note', standing.problem);
  show('reading');
  if (found.handed_over) watchProvider(mine);
}

/** A provider's app asks the person; this page only looks on. */
async function watchProvider(mine) {
  try {
    for (;;) {
      const standing = await next({ state: 'open' });
      if (mine !== turn) return;
      if (standing.final || standing.state === 'approved') break;
    }
    await follow();
  } catch (error) {
    if (mine === turn) trouble(error);
  }
}

// ------------------------------------------------------------------------------------------------------- answering
/** The passkey's answer, or null with a word on the page. */
async function answerOf(options, place) {
  try {
    return await ask(options);
  } catch (error) {
    const usual = error.name === 'NotAllowedError' || error.name === 'AbortError';
    note(place, word(usual ? 'cancelled' : 'broken'));
    return null;
  }
}

async function working(button, work) {
  const words = [...button.childNodes];
  button.disabled = true;
  button.textContent = word('busy');
  try {
    await work();
  } catch (error) {
    trouble(error);
  } finally {
    button.disabled = false;
    button.textContent = '';
    button.append(...words);
  }
}

async function enter() {
  note('entry-note', '');
  const asked = await retried(() => get(`${base}/enter`));
  const credential = await answerOf(asked.publicKey, 'entry-note');
  if (!credential) {
    $('elsewhere').open = true;
    return;
  }
  try {
    const given = await retried(() => post(`${base}/enter`, { tx: asked.tx, credential }));
    keep(given.pass);
  } catch (error) {
    if (error.code === 'link.unknown') throw error;
    // `enter.spent` after a lost answer: the pass was made but did not arrive; ask once more
    note('entry-note', error.title);
    return;
  }
  announce(word('entered'));
  await follow();
}

/** To the pages of enrolment, which lead back here. */
async function enrol() {
  note('entry-note', '');
  try {
    const given = await retried(() => post(`${base}/enrol`), 4);
    if (/^\/e\/[A-Za-z0-9_-]+#s=[A-Za-z0-9_-]+$/.test(given.location)) location.assign(given.location);
  } catch (error) {
    if (error.code === 'link.unknown') throw error;
    note('entry-note', error.code === 'offline' ? $('line').textContent : error.title);
  }
}

async function approve() {
  note('answer-note', '');
  const credential = await answerOf(shown.publicKey, 'answer-note');
  if (!credential) return;
  const sent = { tx: shown.tx, credential };
  try {
    // the same answer again while nobody answers; once it has arrived, the server says that it is no longer open
    await retried(() => post(`${base}/approve`, sent, { pass }));
  } catch (error) {
    if (error.code.startsWith('pass.') || error.code === 'link.unknown') throw error;
    await refused(error);
    return;
  }
  await follow();
}

async function start() {
  try {
    await retried(() => post(`${base}/start`, {}, { pass }));
  } catch (error) {
    if (error.code.startsWith('pass.') || error.code === 'link.unknown') throw error;
    await refused(error);
    return;
  }
  await follow();
}

/** The answer was not taken: perhaps an earlier one was. The server knows; only then a word about it. */
async function refused(error) {
  await follow();
  if (!document.querySelector('[data-view=reading]').hidden) {
    note('answer-note', `${error.title} ${word('not_signed')}`);
    $('answer-note').scrollIntoView({ block: 'center' });
  }
}

function closeRefusal() {
  $('refusal').hidden = true;
  $('refuse').setAttribute('aria-expanded', 'false');
}

async function refuse() {
  const reason = $('reason').value.trim();
  if (!reason) return;
  try {
    await retried(() => post(`${base}/refuse`, { reason }, { pass }));
  } catch (error) {
    if (error.code.startsWith('pass.') || error.code === 'link.unknown') throw error;
    await refused(error);
    return;
  }
  await follow();
}

// ----------------------------------------------------------------------------------------------------------- start
alive();
if ($('enter')) $('enter').addEventListener('click', () => working($('enter'), enter));
for (const each of document.querySelectorAll('.to-enrol')) each.addEventListener('click', () => working(each, enrol));
$('again').addEventListener('click', () => working($('again'), follow));
$('approve').addEventListener('click', () => working($('approve'), approve));
$('start').addEventListener('click', () => working($('start'), start));
$('refuse').addEventListener('click', () => {
  $('refusal').hidden = false;
  $('refuse').setAttribute('aria-expanded', 'true');
  $('reason').focus();
});
$('refuse-not').addEventListener('click', () => {
  closeRefusal();
  $('refuse').focus();
});
$('refusal').addEventListener('submit', (event) => {
  event.preventDefault();
  working($('refusal').querySelector('.danger'), refuse);
});
if (navigator.clipboard && navigator.clipboard.writeText) {
  $('copy').hidden = false;
  $('copy').addEventListener('click', () => navigator.clipboard.writeText($('address').value).then(
    () => { $('copy').textContent = word('copied'); }, () => $('address').select(),
  ));
}
if (pass) follow();
else if (!hasWebAuthn()) show('nokey');
