// What the signing origin's pages share: WebAuthn without optional browser parts, questions to the server, views.
// Holds no sentence: words stand in the page. Keeps nothing but what a page asks it to.

const SECONDS = 90, LONGEST = 15;
export const $ = (id) => document.getElementById(id);

/** Call first: the script runs, so the note that it does not may go. */
export function alive() {
  for (const each of document.querySelectorAll('.dead')) each.remove();
}

// ------------------------------------------------------------------------------------------------------- WebAuthn
export function hasWebAuthn() {
  return !!(window.isSecureContext && window.PublicKeyCredential && navigator.credentials && navigator.credentials.get);
}

export function toText(buffer) {
  let binary = '';
  for (const byte of new Uint8Array(buffer)) binary += String.fromCharCode(byte);
  return btoa(binary).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

export function toBytes(text) {
  const binary = atob(text.replace(/-/g, '+').replace(/_/g, '/'));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

const named = (list) => (list || []).map((each) => Object.assign({}, each, { id: toBytes(each.id) }));

/** PublicKeyCredentialRequestOptionsJSON → options. */
export function requestOptions(json) {
  const own = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON;
  if (own) return PublicKeyCredential.parseRequestOptionsFromJSON(json);
  return Object.assign({}, json, { challenge: toBytes(json.challenge), allowCredentials: named(json.allowCredentials) });
}

/** PublicKeyCredentialCreationOptionsJSON → options. */
export function creationOptions(json) {
  const own = window.PublicKeyCredential && PublicKeyCredential.parseCreationOptionsFromJSON;
  if (own) return PublicKeyCredential.parseCreationOptionsFromJSON(json);
  return Object.assign({}, json, {
    challenge: toBytes(json.challenge), user: Object.assign({}, json.user, { id: toBytes(json.user.id) }),
    excludeCredentials: named(json.excludeCredentials),
  });
}

/** A credential → AuthenticationResponseJSON or RegistrationResponseJSON. */
export function toJSON(credential) {
  if (credential.toJSON) return credential.toJSON();
  const given = credential.response, response = {};
  for (const name of ['clientDataJSON', 'authenticatorData', 'signature', 'userHandle', 'attestationObject']) {
    if (given[name]) response[name] = toText(given[name]);
  }
  if (given.getTransports) response.transports = given.getTransports();
  return {
    id: credential.id, rawId: toText(credential.rawId), type: credential.type, response,
    clientExtensionResults: credential.getClientExtensionResults ? credential.getClientExtensionResults() : {},
  };
}

/** Some browsers never answer where there is no authenticator: after 90 seconds we stop waiting. */
async function bounded(work) {
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), SECONDS * 1000);
  try {
    return toJSON(await work(stop.signal));
  } finally {
    clearTimeout(timer);
  }
}

export const ask = (json) => bounded((signal) => navigator.credentials.get({ publicKey: requestOptions(json), signal }));
export const make = (json) => bounded((signal) => navigator.credentials.create({ publicKey: creationOptions(json), signal }));

// ------------------------------------------------------------------------------------------------------ the server
/** What the server refused, or `offline` where nobody answers. */
export class Problem extends Error {
  constructor(code, title, status) {
    super(code);
    Object.assign(this, { code, title: title || code, status: status || 0 });
  }
}

/** The raw answer; throws Problem. `seconds`: how long to wait. */
export async function answered(path, { method = 'GET', body, pass, seconds = 30 } = {}) {
  const headers = { accept: 'application/json', 'accept-language': document.documentElement.lang };
  if (pass) headers['dauso-pass'] = pass;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), seconds * 1000);
  let answer, said;
  try {
    answer = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: 'omit', cache: 'no-store',
      signal: stop.signal,
    });
    if (answer.ok) return { blob: await answer.blob(), kind: answer.headers.get('content-type') || '' };
    said = await answer.json().catch(() => ({}));
  } catch (error) {
    throw new Problem('offline');
  } finally {
    clearTimeout(timer);
  }
  const away = answer.status >= 502 || answer.status === 503 || answer.status === 408;
  throw new Problem(away ? 'offline' : said.code || 'web.failed', said.title, answer.status);
}

async function json(path, how) {
  const { blob } = await answered(path, how);
  return blob.size ? JSON.parse(await new Response(blob).text()) : null;
}

export const get = (path, how) => json(path, Object.assign({}, how));
export const post = (path, body, how) => json(path, Object.assign({ method: 'POST', body: body === undefined ? {} : body }, how));
export const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

/** Repeats `work` as long as nobody answers, and says so on the page. */
export async function retried(work, tries = 1000) {
  const line = $('line');
  for (let turn = 0; ; turn += 1) {
    try {
      const done = await work();
      if (line) line.hidden = true;
      return done;
    } catch (error) {
      if (error.code !== 'offline' || turn + 1 >= tries) {
        if (line) line.hidden = true;
        throw error;
      }
      if (line) line.hidden = false;
      await sleep(Math.min(2 ** Math.min(turn, 4), LONGEST));
    }
  }
}

// -------------------------------------------------------------------------------------------------------- the page
/** Shows one `<section data-view>` and hides the others; its heading gets the focus. */
export function view(name) {
  let shown = null;
  for (const each of document.querySelectorAll('[data-view]')) {
    each.hidden = each.dataset.view !== name;
    if (!each.hidden) shown = each;
  }
  const heading = shown && shown.querySelector('h1');
  window.scrollTo(0, 0);
  if (heading) heading.focus({ preventScroll: true });
  return shown;
}

export const template = (id) => document.importNode($(id).content, true);

/** Text of `[data-slot]` by name; `[data-when]` hides where its value is empty. */
export function fill(node, values) {
  for (const each of node.querySelectorAll('[data-slot]')) {
    if (each.dataset.slot in values) each.textContent = values[each.dataset.slot];
  }
  for (const each of node.querySelectorAll('[data-when]')) {
    if (!(each.dataset.when in values)) continue;
    const value = values[each.dataset.when];
    each.hidden = Array.isArray(value) ? !value.length : !value;
  }
  return node;
}

/** A sentence of `<template id="tpl-words">`, its places filled. */
export function word(name, values = {}) {
  const found = $('tpl-words').content.querySelector(`[data-word="${name}"]`);
  return found.textContent.replace(/\{(\w+)\}/g, (all, key) => (key in values ? values[key] : all));
}

export function announce(text) {
  $('said').textContent = text;
}

export function note(id, text) {
  $(id).textContent = text || '';
  $(id).hidden = !text;
}
