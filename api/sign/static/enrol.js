// Enrolment: who you are, consent, the passkey. Each step may be taken up again after a lost line or a reload.
// Kept in this tab: the pass of the run. Kept until the log-in comes back, perhaps in another tab: its secret.
import { $, alive, announce, ask, fill, get, hasWebAuthn, make, note, post, Problem, retried, view, word } from './sign.js';

const RUN = 'dauso-enrolment', FLOW = 'dauso-log-in', SECRET = /^[A-Za-z0-9_-]{32}$/;
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
  if (name === 'ready') {
    $('desk').hidden = !stage.official;
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
      note(noteId, error instanceof Problem ? error.title : word(error.word || 'key'));
      if (error.code === 'pass.missing' || error.code === 'pass.expired') keep(sessionStorage, RUN, null);
    } finally {
      keys.disabled = false;
    }
  });
}

async function login(path) {
  const asked = await post(path);
  keep(localStorage, FLOW, { flow: asked.flow, place, back: wayBack() });
  location.assign(asked.url);
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
    note('working-note', error.title);
    $('finish').hidden = false;
  }
}

async function resume() {
  show(await retried(() => get('/e/run/stage', { pass })));
}

// ------------------------------------------------------------------------------------------------------------ pages
function wire() {
  pressed('login', 'identity-note', () => login(`${place}/login`));
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
  pressed('ticket', 'desk-note', async () => {
    const answer = await post('/e/run/ticket', undefined, { pass });
    $('ticket').hidden = true;
    $('desk-open').hidden = false;
    $('desk-open').firstElementChild.href = answer.url;
    $('desk-open').firstElementChild.focus();
  });
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

async function back() {
  const said = new URLSearchParams(location.search), flow = kept(localStorage, FLOW);
  history.replaceState(null, '', '/e/back');  // the code leaves the address at once
  keep(localStorage, FLOW, null);
  const start = /^\/e\/(lost|[A-Za-z0-9_-]{32})$/.test(flow.place || '') ? flow.place : '';
  try {
    const body = { flow: flow.flow || '-'.repeat(32), state: said.get('state') || '' };
    for (const name of ['code', 'iss']) if (said.get(name)) body[name] = said.get(name);
    const answer = await retried(() => post('/e/back', body), 4);
    if (answer.lost) return locked(answer.lost);
    keep(sessionStorage, RUN, { pass: answer.pass, place: start, back: flow.back });
    return location.replace(start);
  } catch (error) {
    fill(view('refused'), { problem: error.title });
    $('begin').hidden = !start;
    $('begin').firstElementChild.href = start;
    return null;
  }
}

function locked(all) {
  view('locked');
  for (const each of all) {
    const item = document.createElement('li'), button = document.createElement('button'), who = document.createElement('p');
    item.className = 'card';
    who.textContent = each.official ? word('lost_official', { agency: each.agency }) : word('lost_citizen');
    button.type = 'button';
    button.textContent = word('again');
    button.addEventListener('click', () => {
      keep(sessionStorage, RUN, { pass: each.pass, place: '/e/lost' });
      location.assign('/e/lost');
    });
    item.append(who, button);
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
