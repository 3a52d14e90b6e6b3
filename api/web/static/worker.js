// Keeps the page for use without a network; answers nothing else, keeps no result.
const NAME = 'dauso-page-__VERSION__', NEEDED = __NEEDED__;

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(NAME).then((kept) => kept.addAll(NEEDED)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const old = (name) => name.startsWith('dauso-page-') && name !== NAME;
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name))))
    .then(() => self.clients.claim()));
});

self.addEventListener('fetch', (event) => {
  const { request } = event, path = new URL(request.url).pathname;
  if (request.method !== 'GET' || !NEEDED.includes(path)) return;
  event.respondWith(path === '/v' ? newest(request) : caches.match(path).then((kept) => kept || fetch(request)));
});

/** The page from the network if it comes soon, so that a mended page reaches everybody; else the one kept. */
async function newest(request) {
  const kept = await caches.match('/v');
  if (!kept) return fetch(request);
  const late = new Promise((_, give) => setTimeout(give, 3000));
  return Promise.race([fetch(request), late]).then((answer) => answer.ok ? answer : kept).catch(() => kept);
}
