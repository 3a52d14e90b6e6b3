// What the pages can also do: follow what happens in the other tab or on the phone, copy the number, check the file at once.
const main = document.getElementById('main'), said = document.getElementById('said');
const EVERY = 4000;

async function look() {
  if (document.visibilityState !== 'visible') return;
  try {
    const answer = await fetch('/training/state', { cache: 'no-store' });
    if (answer.ok && (await answer.json()).mark !== main.dataset.mark) location.reload();
  } catch (error) { /* no network just now: the next look may have one */ }
}

if (main.dataset.mark && document.querySelector('.again')) {
  setInterval(look, EVERY);
  document.addEventListener('visibilitychange', look);
}
// a page that the browser kept shows what was
window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

for (const button of document.querySelectorAll('[data-copy]')) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      said.textContent = said.dataset.copied;
      button.textContent = `✓ ${said.dataset.copied}`;
    } catch (error) { button.hidden = true; }
  });
}

// said here, before anybody has typed a number in vain
const noKey = document.getElementById('no-key');
if (noKey) noKey.hidden = !!(window.PublicKeyCredential && navigator.credentials && navigator.credentials.create);

const check = document.getElementById('check');
if (check && window.DataTransfer) {
  check.hidden = false;
  check.addEventListener('click', async () => {
    check.disabled = true;
    try {
      const answer = await fetch('/training/file', { cache: 'no-store' });
      if (!answer.ok) throw new Error('no file');
      const chosen = new DataTransfer();
      chosen.items.add(new File([await answer.blob()], 'tap-huan.pdf', { type: 'application/pdf' }));
      document.getElementById('file').files = chosen.files;
      document.getElementById('check-form').submit();
    } catch (error) {
      check.hidden = true;  // by hand, then
    } finally {
      check.disabled = false;
    }
  });
}
