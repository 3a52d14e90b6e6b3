// The desk's page: passkey log-in and lock, keys for long lists, ticks that survive an interruption. All pages work
// without it, except what WebAuthn needs. No optional browser API is needed: conversions are our own.

const $ = (what, from = document) => from.querySelector(what);
const all = (what, from = document) => [...from.querySelectorAll(what)];
const body = document.body;
document.documentElement.classList.add('script');

// ------------------------------------------------------------------------------------------------------------ bytes
function bytes(text) {
  const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/'));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

function text(buffer) {
  let plain = '';
  for (const byte of new Uint8Array(buffer)) plain += String.fromCharCode(byte);
  return btoa(plain).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

// ------------------------------------------------------------------------------------------------------------- asking
class Problem extends Error {
  constructor(code, lines) {
    super(code);
    this.code = code;
    this.lines = lines;
  }
}

const words = (id) => all('p', $(`#${id}`).content).map((each) => each.cloneNode(true));

async function call(path, given, method = 'POST') {
  let answer;
  const asked = { method, headers: { accept: 'application/json' }, credentials: 'same-origin' };
  if (given) {
    asked.headers['content-type'] = 'application/json';
    asked.body = JSON.stringify(given);
  }
  try {
    answer = await fetch(path, asked);
  } catch {
    throw new Problem('offline', words('tpl-no-network'));
  }
  if (answer.status === 204) return null;
  let said = {};
  try {
    said = await answer.json();
  } catch { /* said below as a failure without words */ }
  if (answer.ok) return said;
  const line = document.createElement('p');
  line.textContent = said.title_vi || said.title || String(answer.status);
  if (said.title_en) {
    const second = document.createElement('span');
    second.lang = 'en';
    second.textContent = said.title_en;
    line.append(' ', second);
  }
  throw new Problem(said.code || 'web.failed', [line]);
}

function canPasskeys() {
  return window.isSecureContext && navigator.credentials && navigator.credentials.get && navigator.credentials.create;
}

async function bounded(work) {
  if (!canPasskeys()) throw new Problem('no_webauthn', words('tpl-no-passkey'));
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 90000);
  try {
    const found = await work(stop.signal);
    if (!found) throw new Problem('cancelled', words('tpl-cancelled'));
    return found;
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem('cancelled', words('tpl-cancelled'));
  } finally {
    clearTimeout(timer);
  }
}

const listed = (list) => (list || []).map((each) => Object.assign({}, each, { id: bytes(each.id) }));

async function assertion(path) {
  const asked = await call(path);
  const options = Object.assign({}, asked.publicKey, {
    challenge: bytes(asked.publicKey.challenge), allowCredentials: listed(asked.publicKey.allowCredentials),
  });
  const found = await bounded((signal) => navigator.credentials.get({ publicKey: options, signal }));
  const answer = found.response;
  return {
    tx: asked.tx,
    credential: {
      rawId: text(found.rawId),
      response: {
        clientDataJSON: text(answer.clientDataJSON), authenticatorData: text(answer.authenticatorData),
        signature: text(answer.signature),
      },
    },
  };
}

async function attestation(ticket) {
  const given = ticket ? { ticket } : {};
  const asked = await call('/desk/register/options', given);
  const key = asked.publicKey;
  const options = Object.assign({}, key, {
    challenge: bytes(key.challenge), user: Object.assign({}, key.user, { id: bytes(key.user.id) }),
    excludeCredentials: listed(key.excludeCredentials),
  });
  const made = await bounded((signal) => navigator.credentials.create({ publicKey: options, signal }));
  const credential = {
    rawId: text(made.rawId),
    response: { clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject) },
  };
  return call('/desk/register', Object.assign({ tx: asked.tx, credential }, given));
}

async function pressed(button, failed, work) {
  failed.hidden = true;
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    failed.replaceChildren(...(error.lines || [document.createTextNode(String(error))]));
    failed.hidden = false;
  } finally {
    button.disabled = false;
  }
}

// --------------------------------------------------------------------------------------------------- log-in, unlocking
function inside(path) {
  return /^\/desk([/?][\w/?=.-]*)?$/.test(path) ? path : '/desk';
}

const login = $('[data-login]');
if (login) {
  login.addEventListener('click', () => pressed(login, $('#failed'), async () => {
    const given = await assertion('/desk/login/options');
    const said = await call('/desk/login', Object.assign({ next: login.dataset.login }, given));
    location.assign(inside(said.next));
  }));
}

const unlockPage = $('[data-unlock-page]');
if (unlockPage) {
  unlockPage.addEventListener('click', () => pressed(unlockPage, $('#failed'), async () => {
    await unlocked();
    if (unlockPage.dataset.unlockPage) location.reload();
    else history.back();
  }));
}

/** A locked session is unlocked; one that has ended is opened again. */
async function unlocked() {
  try {
    return await call('/desk/unlock', await assertion('/desk/unlock/options'));
  } catch (error) {
    if (error.code !== 'desk.signed_out') throw error;
    return call('/desk/login', await assertion('/desk/login/options'));
  }
}

for (const each of all('[data-register]')) {
  const button = each.matches('button') ? each : $('button', each);
  const ticket = $('#ticket');
  const take = () => {
    if (!ticket || location.hash.length < 20) return;
    ticket.value = location.hash.slice(1);
    history.replaceState(null, '', location.pathname);
    $('#ticket-field').hidden = true;
  };
  take();
  window.addEventListener('hashchange', take);
  const work = () => pressed(button, $('#failed'), async () => {
    let said;
    try {
      said = await attestation(ticket ? ticket.value.trim() : null);
    } catch (error) {
      if (error.code !== 'desk.verify_again') throw error;
      await unlocked();
      said = await attestation(null);
    }
    location.assign(inside(said.next));
  });
  if (each.matches('form')) {
    each.addEventListener('submit', (event) => {
      event.preventDefault();
      work();
    });
  } else {
    each.addEventListener('click', work);
  }
}

// --------------------------------------------------------------------------------------------------------------- lock
const locked = $('#locked');
if (locked && body.dataset.idle) {
  const idle = Number(body.dataset.idle) * 1000;
  let seen = Date.now();
  let told = Date.now();

  const shut = () => {
    if (locked.open) return;
    body.classList.add('is-locked');
    for (const each of all('dialog[open]')) each.close();
    if (locked.showModal) locked.showModal();
    else locked.setAttribute('open', '');
    $('[data-unlock]', locked).focus();
  };

  const alive = () => {
    if (locked.open) return;
    seen = Date.now();
    if (seen - told > Math.min(60000, idle / 4)) {
      told = seen;
      call('/desk/touch').catch((error) => {
        if (error.code === 'desk.locked' || error.code === 'desk.signed_out') shut();
      });
    }
  };
  for (const kind of ['keydown', 'pointerdown', 'input']) document.addEventListener(kind, alive, { passive: true });

  const look = async () => {
    if (locked.open) return;
    if (Date.now() - seen > idle) {
      shut();
      return;
    }
    try {
      if ((await call('/desk/session', null, 'GET')).locked) shut();
    } catch (error) {
      if (error.code === 'desk.signed_out') shut();
    }
  };
  setInterval(() => { if (Date.now() - seen > idle) shut(); }, Math.min(5000, idle / 4));
  setInterval(look, 30000);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });
  window.addEventListener('pageshow', (event) => { if (event.persisted) look(); });
  locked.addEventListener('cancel', (event) => event.preventDefault());

  const open = $('[data-unlock]', locked);
  open.addEventListener('click', () => pressed(open, $('.note', locked), async () => {
    const said = await unlocked();
    if (said.who !== body.dataset.who) {
      location.assign('/desk');
      return;
    }
    seen = told = Date.now();
    body.classList.remove('is-locked');
    locked.close();
  }));

  // A form that meets a locked session would lose what was typed: ask first, unlock, then send.
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.dataset.asked || form.method !== 'post' || form.closest('dialog')) return;
    if (/\/(lock|logout)$/.test(form.action)) return;
    event.preventDefault();
    const by = event.submitter;
    call('/desk/session', null, 'GET').then((said) => said.locked, (error) => error.code === 'desk.signed_out').then((shutNow) => {
      if (shutNow) {
        shut();
        return;
      }
      form.dataset.asked = '1';
      const busy = $('.busy', form);
      if (busy) busy.hidden = false;
      if (form.requestSubmit) form.requestSubmit(by && by.form === form ? by : undefined);
      else form.submit();
      setTimeout(() => { delete form.dataset.asked; }, 0);
    });
  });
}

// ------------------------------------------------------------------------------------------------------------ confirm
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (!form.dataset.confirm || form.dataset.sure || form.dataset.asked) return;
  const made = $('#tpl-confirm').content.cloneNode(true).firstElementChild;
  if (!made.showModal) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const second = document.createElement('span');
  second.lang = 'en';
  second.textContent = form.dataset.confirmEn || '';
  $('p', made).append(form.dataset.confirm, second);
  made.setAttribute('aria-label', form.dataset.confirm);
  body.append(made);
  made.addEventListener('close', () => made.remove());
  $('[value=no]', made).addEventListener('click', () => made.close());
  $('[value=yes]', made).addEventListener('click', () => {
    made.close();
    form.dataset.sure = '1';
    if (form.requestSubmit) form.requestSubmit();
    else form.submit();
  });
  made.showModal();
  $('[value=no]', made).focus();
}, true);

// --------------------------------------------------------------------------------------------------------------- rows
function step(list, event, one) {
  const way = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
  if (!way || event.altKey || event.ctrlKey || event.metaKey) return;
  const at = list.indexOf(one);
  if (at < 0) return;
  event.preventDefault();
  const next = list[Math.max(0, Math.min(list.length - 1, at + way))];
  next.focus();
  next.closest('li, figure').scrollIntoView({ block: 'nearest' });
}

for (const rows of all('[data-rows]')) {
  const name = rows.dataset.rows;
  const inRows = () => all(name ? `input[name="${name}"]` : 'h3 a', rows);
  rows.addEventListener('keydown', (event) => {
    step(inRows(), event, event.target);
    if (event.key === 'Enter' && event.target.matches('input[type=checkbox]')) {
      event.preventDefault();
      const form = event.target.form;
      if (form.requestSubmit) form.requestSubmit();
      else form.submit();
    }
  });
}

function counted() {
  for (const each of all('[data-count]')) {
    const boxes = all(`input[name="${each.dataset.count}"]`);
    const chosen = boxes.filter((box) => box.checked).length;
    for (const n of all('.n', each)) if (n.textContent !== String(chosen)) n.textContent = chosen;
  }
  for (const box of all('[data-rows] input[type=checkbox]')) box.closest('li').classList.toggle('chosen', box.checked);
  for (const whole of all('[data-all]')) {
    const boxes = all(`input[name="${whole.dataset.all}"]`);
    const chosen = boxes.filter((box) => box.checked).length;
    whole.checked = chosen === boxes.length && chosen > 0;
    whole.indeterminate = chosen > 0 && chosen < boxes.length;
  }
}
for (const whole of all('[data-all]')) {
  whole.addEventListener('change', () => {
    for (const box of all(`input[name="${whole.dataset.all}"]`)) box.checked = whole.checked;
    counted();
  });
}
document.addEventListener('change', counted);

// --------------------------------------------------------------------------------------------------------------- ticks
const ticks = $('[data-ticks]');
if (ticks) {
  const name = `ticks-${ticks.dataset.ticks}`;
  const boxes = all('input[name="page"]');
  const others = all('input[name="check"]', ticks);
  const kept = new Set((sessionStorage.getItem(name) || '').split(',').filter(Boolean));
  for (const box of [...boxes, ...others]) if (kept.has(box.value)) box.checked = true;
  const keep = () => {
    sessionStorage.setItem(name, [...boxes, ...others].filter((box) => box.checked).map((box) => box.value).join(','));
  };
  document.addEventListener('change', keep);
  for (const box of boxes) {
    box.addEventListener('keydown', (event) => {
      step(boxes, event, box);
      if (event.key === 'Enter') {  // ticked, on to the next page: one key a page
        event.preventDefault();
        box.checked = true;
        box.dispatchEvent(new Event('change', { bubbles: true }));
        const next = boxes[boxes.indexOf(box) + 1];
        if (next) {
          next.closest('figure').scrollIntoView({ block: 'start' });
          next.focus({ preventScroll: true });
        } else {
          $('button', ticks).focus();
        }
      }
    });
  }
  ticks.addEventListener('submit', (event) => {
    const open = boxes.find((box) => !box.checked) || others.find((box) => !box.checked);
    if (!open || event.defaultPrevented) return;
    event.preventDefault();
    event.stopPropagation();
    open.closest('figure, label').scrollIntoView({ block: 'center' });
    open.focus({ preventScroll: true });
    $('[data-count]', ticks).classList.add('late');
  });
}

const zoom = $('[data-zoom]');
if (zoom) {
  zoom.addEventListener('click', () => {
    const big = zoom.closest('.scan').classList.toggle('zoomed');
    zoom.setAttribute('aria-pressed', String(big));
    for (const image of all('.sheets img')) image.sizes = big ? '200vw' : '(min-width: 900px) 55vw, 100vw';
  });
}

const here = $('nav [aria-current]');
if (here) here.closest('ul').scrollLeft = here.offsetLeft - 20;
const problem = $('#problem');
if (problem) problem.focus();
counted();
