// Enrolment: who you are, consent, the passkey. Each step may be taken up again after a lost line or a reload.
// Kept in this tab: the pass of the run, and what a log-in brought back until the server has answered. Kept until the
// log-in comes back, perhaps in another tab: its secret, one for each.
import { $, alive, announce, ask, fill, get, hasWebAuthn, make, note, post, Problem, retried, view, word } from './sign.js';

const RUN = 'dauso-enrolment', FLOW = 'dauso-log-in ', BACK = 'dauso-back', LOST = 'dauso-lost', HOUR = 3600000, SECRET = /^[A-Za-z0-9_-]{32}$/;
const page = $('enrolment').dataset.page;
const here = location.pathname.split('/').pop();

// ---------------------------------------------------------------------------------------------------------- keeping
function kept(store, name) {
  try {
    return JSON.parse(store.getItem(name)) || {};
  } catch (error) {
    return {};
  }
}

function keep(store, name, value) {
  try {
    if (value) store.setItem(name, JSON.stringify(value));
    else store.removeItem(name);
  } catch (error) { /* private windows may keep nothing: the run then lives as long as the page */ }
}

/** Secrets of log-ins that never came back. */
function forget() {
  try {
    for (const name of Object.keys(localStorage)) {
      if (name.startsWith(FLOW) && !(Date.now() - kept(localStorage, name).at < HOUR)) localStorage.removeItem(name);
    }
  } catch (error) { /* nothing kept, nothing to forget */ }
}

/** What may stand on a page: never what only a programmer can use. */
function told(error) {
  if (error.code === 'offline') return $('line').textContent;
  return /^web\.(invalid|unreadable)/.test(error.code) ? word('unreadable') : error.title;
}

let pass = '';
const place = page === 'link' ? `/e/${here}` : '/e/lost';

/** Where to go after enrolment: the link of a paper that waits, given behind the `#`. */
function wayBack() {
  const given = new URLSearchParams(location.hash.slice(1)).get('s') || kept(sessionStorage, RUN).back || '';
  return SECRET.test(given) ? given : '';
}

function begin(token) {
  pass = token;
  keep(sessionStorage, RUN, { pass, place, back: wayBack() });
}

// ------------------------------------------------------------------------------------------------------------ steps
function step(name) {
  for (const each of document.querySelectorAll('[data-step]')) {
    if (each.dataset.step === name) each.setAttribute('aria-current', 'step');
    else each.removeAttribute('aria-current');
  }
}

const VIEWS = { identified: 'consent', consented: 'phone', registered: 'working', done: 'ready', waiting: 'waiting' };
const STEPS = { consent: 'consent', phone: 'phone', working: 'phone', ready: 'ready', waiting: 'ready', identity: 'identity' };

function show(stage) {
  let name = VIEWS[stage.state] || 'identity';
  if (name === 'phone' && stage.kind === 'renewal') name = 'working';
  if (name === 'identity') keep(sessionStorage, RUN, null);
  if (name === 'phone' && !hasWebAuthn()) return view('nokey');
  step(STEPS[name]);
  const shown = view(name);
  if (stage.usable_from) fill(shown, { usable: stage.usable_from });
  if (name === 'working') finish();
  if (name === 'waiting' && $('foreign')) $('foreign').hidden = true;  // who just enrolled here knows
  if (name === 'consent') $('desk-only').hidden = !stage.desk;
  if (name === 'ready') {
    $('desk').hidden = !stage.desk;
    const back = wayBack();
    $('return').hidden = !back;
    if (back) $('return').firstElementChild.href = `/s/${back}`;
  }
  return shown;
}

/** One press at a time; what is refused stands in `noteId`. */
function pressed(id, noteId, work) {
  const button = $(id);
  if (!button) return;
  button.addEventListener(button.tagName === 'FORM' ? 'submit' : 'click', async (event) => {
    event.preventDefault();
    const keys = button.tagName === 'FORM' ? button.querySelector('button') : button;
    if (keys.disabled) return;
    keys.disabled = true;
    note(noteId, '');
    announce(word('busy'));
    try {
      await work();
    } catch (error) {
      note(noteId, error instanceof Problem ? told(error) : word(error.word || 'key'));
      if (error.code === 'pass.missing' || error.code === 'pass.expired') keep(sessionStorage, RUN, null);
    } finally {
      keys.disabled = false;
    }
  });
}

async function login(from) {
  const asked = await post(`${from}/login`), state = new URL(asked.url).searchParams.get('state');
  forget();
  keep(localStorage, FLOW + state, { flow: asked.flow, place: from, back: wayBack(), at: Date.now() });
  location.assign(asked.url);
}

async function ticket(name) {
  const answer = await post('/e/run/ticket', undefined, { pass }), open = $(`desk${name}-open`);
  $(`ticket${name}`).hidden = true;
  open.hidden = false;
  open.firstElementChild.href = answer.url;
  open.firstElementChild.focus();
}

async function made() {
  const asked = await post('/e/run/registration', undefined, { pass });
  let credential;
  try {
    credential = await make(asked.publicKey);
  } catch (error) {
    throw Object.assign(error, { word: error.name === 'InvalidStateError' ? 'known' : 'cancelled' });
  }
  step('phone');
  view('working');
  try {
    show(await post('/e/run/registered', { tx: asked.tx, credential }, { pass, seconds: 60 }));
  } catch (error) {
    if (error.code === 'offline') return resume();  // it may have arrived: the run says so itself
    view('phone');
    throw error;
  }
  return null;
}

async function finish() {
  $('finish').hidden = true;
  note('working-note', '');
  try {
    show(await retried(() => post('/e/run/finish', undefined, { pass, seconds: 60 }), 8));
  } catch (error) {
    note('working-note', told(error));
    $('finish').hidden = false;
  }
}

async function resume() {
  show(await retried(() => get('/e/run/stage', { pass })));
}

// ------------------------------------------------------------------------------------------------------------ pages
function wire() {
  pressed('login', 'identity-note', () => login(place));
  pressed('halt', 'halt-note', () => login($('halt').dataset.of === 'link' ? place : '/e/lost'));
  pressed('halt-key', 'identity-note', async () => {
    const asked = await post(`${place}/halt`);
    const credential = await ask(asked.publicKey);
    await post(`${place}/halt/answer`, { tx: asked.tx, credential });
    $('pending').hidden = true;
    $('halted').hidden = false;
  });
  pressed('send', 'identity-note', async () => {
    await post(`${place}/code`);
    $('code').hidden = false;
    note('code-note', word('sent'));
    announce(word('sent'));
    $('digits').focus();
  });
  pressed('code', 'identity-note', async () => {
    const answer = await post(`${place}/code/answer`, { code: $('digits').value.trim() });
    begin(answer.pass);
    await resume();
  });
  pressed('passkey', 'identity-note', async () => {
    const asked = await post(`${place}/passkey`);
    const credential = await ask(asked.publicKey);
    const answer = await post(`${place}/passkey/answer`, { tx: asked.tx, credential });
    begin(answer.pass);
    await resume();
  });
  pressed('consent', 'consent-note', async () => {
    if (!$('agree').checked) throw Object.assign(new Error(), { word: 'agree' });
    show(await post('/e/run/consent', { sha256: $('wording').dataset.sha256 }, { pass }));
  });
  pressed('make', 'phone-note', made);
  pressed('finish', 'working-note', finish);
  pressed('ticket', 'desk-note', () => ticket(''));
  pressed('ticket-only', 'desk-only-note', () => ticket('-only'));
}

async function opened() {
  wire();
  const run = kept(sessionStorage, RUN);
  if (run.place === place && SECRET.test(run.pass || '')) {
    pass = run.pass;
    try {
      return await resume();
    } catch (error) {
      keep(sessionStorage, RUN, null);  // its time is over: show again who you are
    }
  }
  if ($('enrolment').dataset.standing === 'waiting') return view('waiting');
  return hasWebAuthn() || page === 'lost' ? null : view('nokey');
}

/** What the provider sent back, kept in this tab until the server has answered: a lost line or a reload loses nothing. */
function cameBack() {
  const said = new URLSearchParams(location.search), found = {};
  history.replaceState(null, '', '/e/back');  // the code leaves the address at once
  if (!SECRET.test(said.get('state') || '')) return kept(sessionStorage, BACK);
  for (const name of ['state', 'code', 'iss']) if (said.get(name)) found[name] = said.get(name);
  keep(sessionStorage, LOST, null);
  keep(sessionStorage, BACK, found);
  return found;
}

function refused(problem, { start = '', again = null } = {}) {
  fill(view('refused'), { problem });
  $('retry').hidden = !again;
  $('retry').onclick = again;
  $('begin').hidden = !start || !!again;
  $('begin').firstElementChild.href = start || '/e/lost';
  $('lock').hidden = !!start || !!again;
}

async function back() {
  const said = cameBack(), flow = said.state ? kept(localStorage, FLOW + said.state) : {};
  const before = kept(sessionStorage, LOST).all;
  if (!said.state && before) return locked(before);
  if (!SECRET.test(flow.flow || '')) {
    keep(sessionStorage, BACK, null);
    return refused(word('reopen'));
  }
  return handOver(said, flow, /^\/e\/(lost|[A-Za-z0-9_-]{32})$/.test(flow.place || '') ? flow.place : '');
}

async function handOver(said, flow, start) {
  view('checking');
  let answer, problem;
  try {
    answer = await retried(() => post('/e/back', Object.assign({ flow: flow.flow }, said)), 4);
  } catch (error) {
    if (error.code === 'offline') return refused(word('back_offline'), { again: () => handOver(said, flow, start) });
    problem = error;
  }
  if (answer && answer.lost) keep(sessionStorage, LOST, { all: answer.lost });
  if (answer && answer.pass) keep(sessionStorage, RUN, { pass: answer.pass, place: start, back: flow.back });
  keep(sessionStorage, BACK, null);
  keep(localStorage, FLOW + said.state, null);
  if (problem) return refused(told(problem), { start });
  return answer.lost ? locked(answer.lost) : location.replace(start);
}

function locked(all) {
  view('locked');
  for (const each of all) {
    const item = document.createElement('li'), button = document.createElement('button'), who = document.createElement('p');
    const why = document.createElement('p');
    item.className = 'card';
    who.textContent = each.official ? word('lost_official', { agency: each.agency }) : word('lost_citizen');
    button.type = 'button';
    button.textContent = word('again');
    button.addEventListener('click', () => {
      keep(sessionStorage, RUN, { pass: each.pass, place: '/e/lost' });
      location.assign('/e/lost');
    });
    why.textContent = word('lost_ended');
    item.append(who, each.pass ? button : why);
    $('locked').append(item);
  }
}

function stop() {
  pressed('stop', 'stop-note', async () => {
    const answer = await retried(() => post(location.pathname), 8);
    fill(view('stopped'), { said: word(answer.state) });
  });
}

alive();
if (page === 'back') back();
else if (page === 'stop') stop();
else opened();
