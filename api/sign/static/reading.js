// What is read before the answer: words, documents, their pages as pictures that come when they are looked at.

import { $, answered, fill, get, retried, template, word } from './sign.js';

const STEP = 600;  // pixels before a page comes into sight
let seen = new Set(), all = 0;

// ------------------------------------------------------------------------------------------------------- the words
function items(id, texts, none) {
  $(id).textContent = '';
  for (const text of texts.length || !none ? texts : [none]) {
    const item = document.createElement('li');
    item.textContent = text;
    $(id).append(item);
  }
}

function place(shown) {
  const where = document.querySelector('[data-view=reading]'), own = shown.signs_as || {};
  const count = shown.documents.length, code = (shown.portal && shown.code) || '';  // the desk shows none to compare
  fill(where, {
    decides: shown.decides, signs: !shown.decides, title: shown.title, agency: shown.agency, portal: shown.portal, reason: shown.reason, changed: shown.changed,
    count: word('documents', { count }), many: count > 1 ? word('many', { count }) : '',
    code: code && `${code.slice(0, 3)} ${code.slice(3)}`, signs_as: shown.signs_as, owner: own.owner || '',
    issuer: own.issuer || '', valid: own.valid_to || '', expires: shown.expires ? word(shown.decides ? 'answer_by' : 'expires', { at: shown.expires }) : '',
  });
  items('earlier', shown.earlier.map((each) => word('earlier', { name: each.name, at: each.at ? `(${each.at})` : '' })), word('nobody'));
  items('then', shown.consequences);
}

// --------------------------------------------------------------------------------------------------- the documents
function documents(base, pass, shown, trouble) {
  seen = new Set();
  all = 0;
  $('documents').textContent = '';
  $('seen').hidden = true;
  for (const each of shown.documents) {
    const item = template('tpl-document'), details = item.querySelector('details'), room = item.querySelector('.pages');
    fill(item, { title: each.title, pages: each.pages ? word('pages', { count: each.pages }) : '' });
    let open = false;
    const unfold = async () => {
      if (open) return;
      open = true;
      try {
        await inside(base, pass, each, room);
      } catch (error) {
        open = false;
        details.open = false;
        trouble(error);
      }
    };
    details.addEventListener('toggle', () => details.open && unfold());
    all += each.pages || 0;
    $('documents').append(item);
    if (shown.documents.length === 1) details.open = true;  // its toggle event does the rest
  }
}

async function inside(base, pass, each, room) {
  for (const warning of each.warnings) {
    const part = document.createElement('p');
    part.className = 'note warn';
    part.textContent = warning;
    room.append(part);
  }
  if (each.kind === 'digest') {
    room.append(template('tpl-digest'));
    room.querySelector('.digest').textContent = each.digest.replace(/(.{8})/g, '$1 ').trim();
    return;
  }
  if (each.kind === 'text') {
    const list = document.createElement('dl');
    list.className = 'facts';
    for (const [label, value] of each.text) {
      const row = document.createElement('div'), term = document.createElement('dt'), said = document.createElement('dd');
      term.textContent = label;
      said.textContent = value;
      row.append(term, said);
      list.append(row);
    }
    room.append(list);
    return;
  }
  let count = each.pages;
  if (count === null) {
    count = (await retried(() => get(`${base}/documents/${each.id}`, { pass: pass() }))).pages;
    all += count;
  }
  const hint = document.createElement('p');
  hint.className = 'hint';
  hint.textContent = word('zoom');
  room.append(hint);
  for (let number = 0; number < count; number += 1) room.append(sheet(base, pass, each, number, count));
}

// ------------------------------------------------------------------------------------------------------- the pages
function sheet(base, pass, each, number, count) {
  const node = template('tpl-page'), figure = node.querySelector('.page'), image = node.querySelector('img');
  const failed = node.querySelector('.failed'), zoom = node.querySelector('.zoom'), words = node.querySelector('.words');
  const loading = node.querySelector('.loading');
  const path = `${base}/documents/${each.id}/pages/${number}`;
  image.alt = word('page', { page: number + 1, pages: count });
  let drawn = 0, asked = 0;  // widths

  async function draw(wide) {
    if (wide <= asked) return;
    asked = wide;
    failed.hidden = true;
    loading.hidden = drawn > 0;
    try {
      const { blob } = await retried(() => answered(`${path}?width=${wide}`, { pass: pass(), seconds: 60 }), 4);
      const picture = await pictured(blob), old = image.src;
      if (wide < drawn) {  // a sharper one was quicker
        URL.revokeObjectURL(picture);
        return;
      }
      image.src = picture;
      if (old) URL.revokeObjectURL(old);
      drawn = wide;
      look(`${each.id}/${number}`);
    } catch (error) {
      asked = drawn;
      failed.hidden = wide < drawn;
    } finally {
      loading.hidden = true;
    }
  }

  const wanted = () => width(figure.clientWidth || 320);
  failed.querySelector('button').addEventListener('click', () => draw(wanted()));
  zoom.addEventListener('click', () => {
    const big = figure.classList.toggle('big');
    zoom.setAttribute('aria-pressed', String(big));
    if (big) draw(Math.min(2000, Math.round(wanted() * 2.5)));
  });
  words.addEventListener('toggle', async () => {
    const text = words.querySelector('.text');
    if (!words.open || text.textContent) return;
    text.textContent = word('busy');
    try {
      const found = await retried(() => get(`${path}/text`, { pass: pass() }), 4);
      text.textContent = found.text.trim() || word('no_words');
    } catch (error) {
      text.textContent = '';
      words.open = false;
      failed.hidden = false;
    }
  });
  near(figure, () => draw(wanted()));
  window.addEventListener('resize', () => {  // a phone that is turned has room for a sharper picture
    if (drawn && figure.isConnected && !figure.classList.contains('big') && wanted() > drawn) draw(wanted());
  });
  return node;
}

/** The address of a picture that is whole: a broken one can be asked for again, and nothing jumps when it is put in. */
async function pictured(blob) {
  const picture = new Image();
  picture.src = URL.createObjectURL(blob);
  try {
    await picture.decode();
  } catch (error) {
    URL.revokeObjectURL(picture.src);
    throw error;
  }
  return picture.src;
}

/** Sized to the screen; a weak line or a wish to save gets no more than it must. */
function width(css) {
  const line = navigator.connection || {};
  const sharp = line.saveData || /2g/.test(line.effectiveType || '') ? 1 : Math.min(window.devicePixelRatio || 1, 2);
  return Math.min(2000, Math.ceil(css * sharp));
}

/** `work` once, when `node` comes near; at once where the browser cannot tell. */
function near(node, work) {
  if (!window.IntersectionObserver) {
    setTimeout(work, 0);
    return;
  }
  const watching = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watching.disconnect();
    work();
  }, { rootMargin: `${STEP}px` });
  setTimeout(() => watching.observe(node), 0);
}

/** A hint, never a gate. */
function look(which) {
  seen.add(which);
  $('seen').textContent = seen.size >= all ? word('seen_all') : word('seen', { seen: seen.size, pages: all });
  $('seen').hidden = false;
}

// -------------------------------------------------------------------------------------------------------- the files
function fileButton(base, pass, file, trouble) {
  const item = document.createElement('li'), button = document.createElement('button');
  button.type = 'button';
  button.className = 'plain';
  button.textContent = word('download', { title: file.title });
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      const { blob, kind } = await retried(() => answered(`${base}/documents/${file.id}/file`, { pass, seconds: 300 }));
      const link = document.createElement('a'), ending = kind.includes('pdf') ? 'pdf' : 'p7s';
      link.href = URL.createObjectURL(blob);
      link.download = `${file.title.replace(/[\\/:*?"<>|\u0000-\u001f]+/g, ' ').trim().slice(0, 80) || 'signed'}.${ending}`;
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    } catch (error) {
      trouble(error);
    } finally {
      button.disabled = false;
    }
  });
  item.append(button);
  return item;
}

export const readings = { place, documents, fileButton };
